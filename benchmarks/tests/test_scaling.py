"""What docs/scaling.md states is what the programs print."""

import math
import re

import pytest

from benchmarks import ddp, scaling
from benchmarks.scaling import GPT, LAYOUTS, RESNET, Assumptions, Layout, Work, mtbf
from trainworks.testing import ROOT

pytestmark = pytest.mark.benchmarks

A = Assumptions()


@pytest.mark.parametrize("title", scaling.tables(A))
def test_the_document_has_the_tables(title: str) -> None:
    assert scaling.tables(A)[title] in (ROOT / "docs" / "scaling.md").read_text()


def test_an_assumption_can_be_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    scaling.main(["--image_rate", "1000"])
    printed = capsys.readouterr().out
    assert "| `image_rate` | 1,000 images/s |" in printed
    assert "| 1 | 19.9 | 256.0 | 0.0 | 0.0 | 256.0 | 1,000 | 100% |" in printed


def test_a_ring_sends_nearly_twice_the_bytes() -> None:
    one = Layout(1).collective(A, 1e9, 2)
    assert one == 0
    without = Assumptions(latency=0, hop=0)
    assert Layout(8).collective(without, 1e9, 2) == pytest.approx(2 * 7 / 8 / 370)
    assert Layout(64, "Ethernet").collective(without, 1e9, 2) == pytest.approx(2 * 63 / 64 / 11.5)


@pytest.mark.parametrize("work", [RESNET, GPT], ids=lambda work: work.name)
def test_a_step_is_its_longest_part(work: Work) -> None:
    for layout in LAYOUTS:
        found = work.step(A, layout)
        assert found["step"] >= max(found["data"], found["compute"] + found["exposed"])
        assert 0 <= found["exposed"] <= found["sent"]
        assert 0 < found["efficiency"] <= 1


def test_published_speeds_of_a_transformer_are_met() -> None:
    """llm-foundry's table: tokens per second of its 1b with 2,048 tokens on 8 and 64 H100."""
    for num_gpus, published in ((8, 363_645), (64, 2_841_754)):
        assert GPT.step(A, Layout(num_gpus))["speed"] == pytest.approx(published, rel=0.05)


def test_the_best_interval_is_the_one_that_loses_least() -> None:
    cost, between = 120.0, mtbf(A, 1024)
    best = math.sqrt(2 * cost * between)

    def lost(interval: float) -> float:
        return cost / interval + interval / 2 / between

    assert lost(best) < min(lost(0.9 * best), lost(1.1 * best))
    assert f"{best / 60:,.1f} min" in scaling.saving(A)  # of 156 GB at 1.3 GB/s


def test_two_processes_send_every_gradient_once(capfd: pytest.CaptureFixture[str]) -> None:
    ddp.main(["MLP", "--repetitions", "1", "--steps", "1"])
    printed = capfd.readouterr().out
    found = dict(re.findall(r"^\| (.*?) \| (.*) \|$", printed, re.MULTILINE))
    assert found["Parameters"] == "1,865,738"
    assert found["Bytes all-reduced in a step"] == found["Bytes of gradients"] == f"{4 * 1_865_738:,}"
    assert sum(map(float, found["Buckets, MiB"].split(", "))) == pytest.approx(4 * 1_865_738 / 2**20, abs=0.02)
    assert float(found["Two, the same batch each (weak): efficiency"].split()[0]) > 0
    assert {f"`{option}`: step over step without" for option in ddp.OPTIONS} <= set(found)


def test_an_unknown_network_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        ddp.main(["VGG"])
    assert "network must be one of SmallCNN, MLP, ResNet-18, got VGG" in capsys.readouterr().err
