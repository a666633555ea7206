from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed import fsdp
from torch.distributed.checkpoint import state_dict as dcp
from torch.distributed.checkpoint.api import CheckpointException

from trainworks.errors import RunFailure, UsageError
from trainworks.runs.files import is_sharded, remove, replace
from trainworks.runs.plain_data import read_plain
from trainworks.runs.sharded import read_shards, write_shards
from trainworks.runtime.blocks import blocks

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
FORWARD_METHODS = (*STEPS, "generate", "sample", "reconstruct")  # which gather the weights that they use
FROM_RANK_0 = dcp.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class FSDPStrategy(ModelParallelStrategy):
    """Shard weights, gradients and optimizer state over all processes (FSDP2, arXiv:2304.11277).

    A block's weights are gathered just before it computes, and freed afterwards. The module needs no change.
    Checkpoints are sharded too: folders to which each process writes. They continue with any world size and with any
    other strategy, and `python train.py merge` makes one file of them.

    Args:
        min_num_parameters: Smaller blocks stay with the rest of the module, which is gathered as one; see
            `trainworks/runtime/blocks.py` for what a block is.
        reshard_after_forward: Free a block's weights after the forward pass already: this takes less memory, but they
            are sent once more in the backward pass.
        cpu_offload: Keep weights, gradients and optimizer state in the CPU's memory: slow, for what fits in no other
            way.
    """

    def __init__(
        self, min_num_parameters: int = 100_000, reshard_after_forward: bool = True, cpu_offload: bool = False
    ) -> None:
        super().__init__()
        self.min_num_parameters = min_num_parameters
        self._options: dict[str, Any] = {
            "reshard_after_forward": reshard_after_forward,
            "offload_policy": fsdp.CPUOffloadPolicy() if cpu_offload else fsdp.OffloadPolicy(),
        }

    def setup_environment(self) -> None:
        """Make a device mesh of one dimension: all processes shard the data and the weights alike."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        """Shard the module, once; fit and the test after it use the same."""
        module = self.lightning_module
        assert module is not None
        if not module.automatic_optimization:  # weights are not gathered between two backward passes of one step
            raise UsageError(f"{type(module).__name__} has manual optimization, which FSDP cannot shard; write ddp")
        if not isinstance(module, fsdp.FSDPModule):
            mesh = self.device_mesh["data_parallel"]
            for block in blocks(module, self.min_num_parameters):
                fsdp.fully_shard(block, mesh=mesh, **self._options)
            fsdp.fully_shard(module, mesh=mesh, **self._options)
            for name in FORWARD_METHODS:
                if hasattr(module, name):
                    fsdp.register_fsdp_forward_method(module, name)
            module.configure_model = lambda: None  # type: ignore[method-assign]  # Lightning requires one
        super().setup(trainer)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch, with the running means of rank 0 on every rank, as under DDP."""
        assert self.model is not None
        _broadcast(list(self.model.buffers()))
        return super().training_step(*args, **kwargs)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Replace what is at `filepath` by a new folder, so that a whole checkpoint is there at any time."""
        target = Path(self.broadcast(str(filepath)))
        temporary = target.with_name(f"{target.name}.tmp")
        tensors: dict[str, Tensor] = {f"weights/{name}": value for name, value in checkpoint.pop("state_dict").items()}
        for number, optimizer in enumerate(checkpoint.get("optimizer_states", [])):
            state = optimizer.pop("state")
            tensors |= _tensors_by_path(number, state)
            plain = {
                name: {key: value for key, value in values.items() if not isinstance(value, Tensor)}
                for name, values in state.items()
            }
            optimizer["values"] = {name: values for name, values in plain.items() if values}
        if self.global_rank == 0:
            remove(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
        self.barrier()
        try:
            write_shards(temporary, tensors, checkpoint)
        except (CheckpointException, OSError) as error:
            reason = str(error).strip().rpartition("\n")[2][:200]
            how = "What was saved before is still there; make room, then continue with --resume"
            raise RunFailure(f"the checkpoint {target} could not be written: {reason}. {how}") from None
        if self.global_rank == 0:
            replace(temporary, target)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read weights and optimizer state from a sharded checkpoint or from one file, and return the rest."""
        path = Path(self.broadcast(str(checkpoint_path)))
        model, sharded = self.lightning_module, is_sharded(path)
        assert model is not None
        checkpoint, options = read_plain(path), None if sharded else FROM_RANK_0
        weights: dict[str, Any] = dcp.get_model_state_dict(model) if sharded else checkpoint["state_dict"]
        if sharded:
            read_shards(path, {f"weights/{name}": value for name, value in weights.items()})
        dcp.set_model_state_dict(model, weights, options=options)
        for number, optimizer in enumerate(self.optimizers):
            stored = checkpoint["optimizer_states"][number]
            own: dict[str, Any] = dcp.get_optimizer_state_dict(model, optimizer)
            if sharded:
                read_shards(path, _tensors_by_path(number, own["state"]))
                for name, values in stored["values"].items():
                    own["state"][name] |= values
            else:
                own["state"] = _state_by_name(stored, own["param_groups"])
            loaded = {"state": own["state"], "param_groups": stored["param_groups"]}
            dcp.set_optimizer_state_dict(model, optimizer, loaded, options=options)
        return checkpoint


def _state_by_name(stored: dict[str, Any], own_groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a stored optimizer state keyed by parameter names, which replace the indices in its groups too."""
    groups = zip(stored["param_groups"], own_groups, strict=True)
    names = dict(pair for ours, named in groups for pair in zip(ours["params"], named["params"], strict=True))
    for group in stored["param_groups"]:
        group["params"] = [names[index] for index in group["params"]]
    return {names[index]: values for index, values in stored["state"].items()}


def _broadcast(buffers: list[Tensor]) -> None:
    """Give every rank the buffers of rank 0, all of one dtype at once."""
    for dtype in dict.fromkeys(buffer.dtype for buffer in buffers):
        alike = [buffer for buffer in buffers if buffer.dtype == dtype]
        joined = torch.cat([buffer.flatten() for buffer in alike])
        dist.broadcast(joined, src=0)
        for buffer, values in zip(alike, torch.split(joined, [buffer.numel() for buffer in alike]), strict=True):
            buffer.copy_(values.view_as(buffer))


def _tensors_by_path(number: int, state: dict[str, dict[str, Any]]) -> dict[str, Tensor]:
    """Return the tensors of the state of one optimizer, by their names in a sharded checkpoint."""
    tensors: dict[str, Tensor] = {}
    for name, values in state.items():
        tensors |= {f"optimizer{number}/{key}/{name}": item for key, item in values.items() if isinstance(item, Tensor)}
    return tensors
