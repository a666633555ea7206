import pytest
import torch

from src.models.networks.fast_cnn import FastCNN


@pytest.fixture
def images() -> torch.Tensor:
    """Smooth in space, so that neighbouring pixels go together, and not centred."""
    rough = torch.randn(256, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(rough, 3, 1, 1) * 3 + 0.1


def test_the_first_batch_of_a_training_whitens(images: torch.Tensor) -> None:
    net = FastCNN(3, 10, (4, 6, 6))
    net.eval()(images)
    assert not net.features[0].weight.any()  # an evaluation teaches nothing
    net.train()(images)
    with torch.no_grad():
        filtered = net.features[0](images).transpose(0, 1).flatten(1)
    assert torch.equal(filtered[:12], -filtered[12:])
    second_moments = filtered[:12] @ filtered[:12].T / filtered.shape[1]
    torch.testing.assert_close(second_moments, torch.eye(12), atol=0.02, rtol=0)
    learned = net.features[0].weight.clone()
    again = FastCNN(3, 10, (4, 6, 6))
    again.load_state_dict(net.state_dict())
    for known in (net, again):  # a resumed training keeps its own
        known.train()(2 * images)
        assert torch.equal(known.features[0].weight, learned)


def test_sizes_mirror_and_identity(images: torch.Tensor) -> None:
    net = FastCNN(3, 7, (32, 40, 40)).eval()
    net(images[:2]).sum().backward()
    assert all(tuple(net(torch.zeros(2, 3, size, size)).shape) == (2, 7) for size in (25, 32, 48))
    torch.testing.assert_close(net(images[:2]), net(images[:2].flip(-1)))
    asymmetric = FastCNN(3, 7, (32, 40, 40), mirror=False)
    asymmetric.train()(images)
    difference = asymmetric.eval()(images[:2]) - asymmetric(images[:2].flip(-1))
    assert difference.abs().max() > 1e-4
    features = torch.randn(1, 24, 5, 5)
    torch.testing.assert_close(net.features[2](features)[:, :24], features)  # the others' outputs are random


def test_a_bias_learns_64_times_as_fast(images: torch.Tensor) -> None:
    net = FastCNN(3, 7, (32, 40, 40)).train()
    norm = net.features[4]
    inputs = images.new_zeros(4, 32, 6, 6).normal_()
    norm(inputs).sum().backward()
    moved = 8 * norm.bias.grad  # of the bias itself, by plain SGD with a rate of 1
    assert torch.equal(moved, torch.full((32,), 64.0 * 4 * 36))


def test_it_needs_numbers_above_0() -> None:
    with pytest.raises(ValueError, match=r"every number must be at least 1; got 3, 0"):
        FastCNN(3, 0)
