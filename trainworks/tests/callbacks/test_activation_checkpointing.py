import copy

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from trainworks.callbacks import ActivationCheckpointing


class Module(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.GELU()) for _ in range(3)]
        self.net = nn.Sequential(*(Block(layer) for layer in layers))


class Block(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x + self.inner(x)
        return result


def kept(module: Module, inputs: torch.Tensor) -> int:
    """Train on one batch; return how many numbers were kept for the backward pass."""
    count = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += tensor.numel()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = module.net(inputs).square().mean()
    loss.backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    return count


def test_less_is_kept_and_all_comes_out_the_same() -> None:
    plain = Module()
    module = copy.deepcopy(plain)
    callback = ActivationCheckpointing(min_num_parameters=100)
    for stage in ("fit", "fit", "test"):  # a second time changes nothing
        callback.setup(None, module, stage)  # type: ignore[arg-type]
    inputs = torch.randn(32, 16)
    full, less = kept(plain, inputs), kept(module, inputs)
    assert less < 0.35 * full
    states = plain.state_dict(), module.state_dict()
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():  # running means and their counter among them
        assert torch.equal(value, states[1][name]), name


def test_a_network_without_such_blocks_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    module, trainer = Module(), Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    ActivationCheckpointing().setup(trainer, module, "fit")
    assert "no activations are recomputed: no block of at least 10,000 parameters" in capsys.readouterr().out
    assert all("forward" not in vars(block) for block in module.modules())
