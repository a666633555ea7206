"""How long exported files, the module and the compiled module take."""

import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SIZES, ROUNDS = (1, 64), 21
SECONDS = 60  # after which no further round is begun, once three are done


def latencies(
    module: Any, inputs: Tensor, rows: list[dict[str, Any]], files: dict[str, Callable[[Tensor], Any]]
) -> list[dict[str, Any]]:
    """Return rows of figures with the median milliseconds of a batch on this CPU; those of the module come first."""
    advice = "--latency false leaves it out"
    print(f"measuring how long a batch takes, some minutes for a large network; {advice}", flush=True)
    end = time.perf_counter() + SECONDS
    runs: dict[str, Callable[[Tensor], Any]] = {"module": module} | files
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of a missing GPU
    try:
        compiled = torch.compile(module)
        with torch.inference_mode():
            compiled(inputs[:1])  # type: ignore[no-untyped-call]
        runs["compiled"] = compiled
    except Exception:  # no compiler, or a network that it does not take
        print("compiled: not measured, since it cannot be compiled here")
    times: dict[tuple[str, int], list[float]] = {(name, size): [] for name in runs for size in SIZES}
    for number in range(ROUNDS):
        if number >= 3 and time.perf_counter() > end:
            break
        for name, size in times:  # in turn, so that a busy moment slows all of them
            batch = inputs[torch.arange(size) % len(inputs)]
            with torch.inference_mode():
                start = time.perf_counter()
                runs[name](batch)
            times[name, size].append(1000 * (time.perf_counter() - start))
    known = {row["file"]: row for row in rows}
    found = []
    for name in sorted(runs, key=["module", "compiled", *files].index):
        one, many = (statistics.median(times[name, size]) for size in SIZES)
        speed = {f"ms, batch {SIZES[0]}": one, f"ms, batch {SIZES[1]}": many, "samples/s": 1000 * SIZES[1] / many}
        found.append(known.get(name, {"file": name}) | speed)
    return found
