from collections import Counter

import pytest
import torch
from torch import Tensor

from trainworks.cli.exporting import latency


def test_each_file_is_measured_at_both_sizes_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[tuple[str, int]]()

    def module(batch: Tensor) -> Tensor:
        calls["module", len(batch)] += 1
        return batch

    def exported(batch: Tensor) -> Tensor:
        calls["a.onnx", len(batch)] += 1
        return batch

    monkeypatch.setattr(torch, "compile", lambda _: 1 / 0)  # as where there is no compiler
    for seconds, rounds in ((60, 21), (0, 3)):
        calls.clear()
        monkeypatch.setattr(latency, "SECONDS", seconds)
        rows = latency.latencies(module, torch.zeros(2, 3), [{"file": "a.onnx", "MB": 1.0}], {"a.onnx": exported})
        assert set(calls.values()) == {rounds} and {size for _, size in calls} == {1, 64}
        assert [row["file"] for row in rows] == ["module", "a.onnx"] and rows[1]["MB"] == 1.0
        assert all(row["samples/s"] == pytest.approx(64_000 / row["ms, batch 64"]) for row in rows)
