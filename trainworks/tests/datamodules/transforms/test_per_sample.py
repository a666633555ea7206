from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import transforms, tv_tensors
from torchvision.transforms import v2

from trainworks.datamodules.transforms import PerSample
from trainworks.datamodules.transforms.apply import apply_transforms
from trainworks.errors import UsageError


class See(nn.Module):
    def forward(self, *parts: Any) -> Any:
        self.types = [type(part) for part in parts]
        return parts if len(parts) > 1 else parts[0]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (torch.zeros(4, dtype=torch.long), Tensor),
        (torch.zeros(4, 10), Tensor),
        (torch.zeros(4, 6, 5, dtype=torch.long), tv_tensors.Mask),
        (torch.zeros(4, 1, 6, 5, dtype=torch.uint8), tv_tensors.Mask),
        (torch.zeros(4, 6, 5), Tensor),  # values for each pixel, no classes
        (torch.zeros(4, 5, 6, dtype=torch.long), Tensor),
    ],
)
def test_masks_get_back_their_type(targets: Tensor, expected: type) -> None:
    see = See()
    images, result = apply_transforms([see], (torch.zeros(4, 3, 6, 5), targets))
    assert see.types == [Tensor, expected]
    assert type(images) is type(result) is Tensor
    assert torch.equal(result, targets)


def test_a_batch_without_targets() -> None:
    assert apply_transforms([v2.ToDtype(torch.float64)], torch.zeros(2, 3, 4, 4)).dtype == torch.float64
    assert apply_transforms([], "anything") == "anything"


def test_boxes_and_masks_in_dictionaries() -> None:
    targets = [
        {"boxes": torch.tensor([[0.0, 0, 2, 6]]), "masks": torch.eye(6, 8)[None].long(), "labels": torch.ones(1)}
    ]
    images, results = apply_transforms([PerSample([v2.RandomHorizontalFlip(1.0)])], ([torch.zeros(3, 6, 8)], targets))
    assert results[0]["boxes"].tolist() == [[6, 0, 8, 6]]
    assert torch.equal(results[0]["masks"], torch.eye(6, 8)[None].long().flip(-1))
    assert {type(value) for value in results[0].values()} == {Tensor}
    assert type(images[0]) is Tensor
    assert targets[0]["boxes"].tolist() == [[0, 0, 2, 6]]


def test_any_transform_of_torchvision_draws_for_each_sample() -> None:
    images = torch.rand(1, 3, 8, 8).expand(16, 3, 8, 8)
    together, _ = apply_transforms([v2.ColorJitter(brightness=0.9)], (images, torch.arange(16)))
    apart, targets = apply_transforms([PerSample([v2.ColorJitter(brightness=0.9)])], (images, torch.arange(16)))
    assert len(torch.unique(together, dim=0)) == 1
    assert len(torch.unique(apart, dim=0)) > 10
    assert targets.tolist() == list(range(16))
    assert PerSample([v2.Resize(4)])(images).shape == (16, 3, 4, 4)


def test_masks_of_each_sample_travel_with_it() -> None:
    masks = torch.arange(8).expand(16, 8, 8).long()
    images = masks[:, None].float()
    moved, moved_masks = apply_transforms([PerSample([v2.RandomHorizontalFlip()])], (images, masks))
    assert torch.equal(moved[:, 0], moved_masks.float())
    assert 0 < int((moved_masks[:, 0, 0] == 7).sum()) < 16


@pytest.mark.parametrize("mix", [v2.MixUp(num_classes=4), v2.CutMix(num_classes=4)])
def test_mixed_batches_have_soft_targets(mix: nn.Module) -> None:
    torch.manual_seed(0)
    images, targets = apply_transforms([mix], (torch.rand(8, 3, 32, 32), torch.arange(8) % 4))
    assert images.shape == (8, 3, 32, 32)
    assert targets.shape == (8, 4)
    assert torch.allclose(targets.sum(dim=1), torch.ones(8))
    assert ((targets > 0).sum(dim=1) == 2).any()


class Drawn(nn.Module):
    """A transform in the manner of kornia's: its second argument is what was drawn."""

    def forward(self, input: torch.Tensor, params: Any = None, **flags: Any) -> torch.Tensor:
        assert params is None
        return input + 1


@pytest.mark.parametrize("transform", [transforms.Normalize([0.5], [0.5]), nn.Sequential(nn.ReLU()), Drawn()])
def test_a_transform_without_an_argument_for_targets_gets_images_alone(transform: nn.Module) -> None:
    images, targets = torch.rand(4, 1, 6, 6), torch.arange(4)
    changed, same = apply_transforms([transform], (images, targets))
    assert torch.equal(changed, transform(images)) and torch.equal(same, targets)
    with pytest.raises(UsageError, match=rf"{type(transform).__name__} changes images without their masks or boxes"):
        apply_transforms([transform], (images, torch.zeros(4, 6, 6, dtype=torch.long)))
