"""What started this process: a person, torchrun or SLURM; and its rank. Nothing heavy is imported here."""

import os
import re


def job_name() -> str | None:
    """Return a name of this job that stays the same when it is restarted; None outside of SLURM and torchrun."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    if job and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return f"slurm-{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else f"slurm-{job}"
    return f"torchrun-{re.sub(r'[^A-Za-z0-9_.-]', '_', os.environ['TORCHELASTIC_RUN_ID'])}" if is_elastic() else None


def is_elastic() -> bool:
    """Whether torchrun started this process with a run id, so that it may restart the whole group."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "none") not in ("none", "")


def is_restart() -> bool:
    """Whether SLURM or torchrun has restarted this job."""
    return any(os.environ.get(name, "0") != "0" for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))


def layout() -> dict[str, int]:
    """Return how many devices and nodes the launcher has chosen, as options of the trainer; empty if it chose none."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        return {"devices": devices, "num_nodes": int(os.environ["WORLD_SIZE"]) // devices}
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive") or "SLURM_STEP_NUM_NODES" not in os.environ:
        return {}
    return {"num_nodes": int(os.environ["SLURM_STEP_NUM_NODES"])}  # of the srun that started it


def is_main_process() -> bool:
    """Whether this process is global rank 0; works before there is a process group."""
    if (rank := os.environ.get("RANK") or os.environ.get("SLURM_PROCID")) is not None:
        return rank == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"
