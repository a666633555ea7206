import math

import pytest
import torch
from torch.nn import functional as F

from src.models.networks.gpt import GPT


def make_net(**arguments: float) -> GPT:
    sizes = {"vocab_size": 256, "max_length": 16, "width": 32, "num_layers": 3, "num_heads": 4}
    torch.manual_seed(0)
    return GPT(**(sizes | arguments))  # type: ignore[arg-type]


def test_a_token_changes_only_what_comes_after_it() -> None:
    net = make_net().eval()
    tokens = torch.randint(256, (2, 16))
    changed = tokens.clone()
    changed[:, 9] = (changed[:, 9] + 1) % 256
    before, after = net(tokens), net(changed)
    assert before.shape == (2, 16, 256)
    assert torch.equal(before[:, :9], after[:, :9])
    assert (before[:, 9:] != after[:, 9:]).any(dim=2).all()


def test_it_begins_without_an_opinion() -> None:
    tokens = torch.randint(256, (8, 17))
    loss = F.cross_entropy(make_net()(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(256), abs=0.05)


def test_branches_begin_small_and_the_output_shares_the_embedding() -> None:
    net = make_net(width=128, num_layers=8)
    assert net.blocks[0].qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert net.blocks[0].mlp_out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    names = [name for name, parameter in net.named_parameters() if 256 in parameter.shape]
    assert names == ["tokens.weight"]


def test_dropout_acts_in_training_alone() -> None:
    net, tokens = make_net(dropout=0.5), torch.randint(256, (1, 16))
    assert not torch.equal(net(tokens), net(tokens))
    net.eval()
    assert torch.equal(net(tokens), net(tokens))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 30}, "width must be a multiple of num_heads, 4, got 30; use 28 or 32"),
        ({"width": 3}, "got 3; use 4"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\), got 256, 16, 32, 3, 4 and 1.0"),
        ({"num_layers": 0}, "every number must be at least 1"),
    ],
)
def test_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_net(**arguments)


def test_too_long_a_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="a sequence has 17 tokens, but max_length is 16"):
        make_net()(torch.zeros(1, 17, dtype=torch.int64))
