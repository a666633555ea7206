"""Compare two ways of doing a thing, in turn, since these machines are noisy."""

import statistics
import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, goal: str, repetitions: int, **ways: Callable[[], object]) -> float:
    """Time two ways in turn, first against second, and print medians and the median of the paired ratios.

    Args:
        name: What is compared.
        goal: What is hoped for, in words.
        repetitions: Pairs, after one that is not counted.
        ways: Two functions by name; the ratio is the second's time over the first's.

    Returns:
        The median ratio.
    """
    (first, ours), (second, theirs) = ways.items()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repetitions + 1)][1:]
    ratios = sorted(b / a for a, b in pairs)
    ratio = statistics.median(ratios)
    medians = [statistics.median(pair[place] for pair in pairs) for place in (0, 1)]
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} pairs"
    times = f"{first} {medians[0]:.3f} s, {second} {medians[1]:.3f} s"
    print(f"{name:<48} {ratio:6.2f}x ({spread}); {times}; goal: {goal}", flush=True)
    return ratio
