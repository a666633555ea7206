"""validate --calibrate true."""

import csv
import re
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import cross_entropy

from trainworks.cli.validation_fits import fitted_temperature
from trainworks.models import load_model
from trainworks.tests.conftest import DIGITS, PLAIN, Train

BEST = "logs/digits/a/checkpoints/best.ckpt"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_temperature_that_made_the_logits_is_found(temperature: float) -> None:
    logits = torch.randn(20_000, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=torch.Generator().manual_seed(1)).squeeze(1)
    assert fitted_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.05)


def test_it_is_kept_and_used_everywhere(train: Train) -> None:
    words = ("--config", DIGITS, "--run_name", "a")
    assert train("fit", *words, *PLAIN, "--trainer.max_epochs", "2").code == 0
    plain = load_model(BEST)
    images = torch.randint(256, (8, 1, 8, 8), dtype=torch.uint8)
    result = train("validate", *words, "--calibrate", "true")
    assert (result.code, result.err) == (0, ""), result.err
    line = next(line for line in result.out.splitlines() if line.startswith("temperature "))
    before, after = (float(part.split()[-1]) for part in line.split(", "))
    assert after < before
    model = load_model(BEST)
    temperature = float(model.temperature)  # type: ignore[arg-type]
    assert float(line.split()[1].rstrip(";")) == pytest.approx(temperature, abs=1e-4) and temperature != 1
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in model.state_dict().items())
    with torch.inference_mode():
        logits = plain(images.float() / 255)
        expected = (logits / temperature).softmax(dim=1)
        assert torch.allclose(model.outputs(images.float() / 255), expected)  # type: ignore[operator]
    found, old = model.predict(list(images)), plain.predict(list(images))
    assert [result.label for result in found] == [result.label for result in old]
    assert [result.probability for result in found] != [result.probability for result in old]
    events = EventAccumulator("logs/digits/a", size_guidance={"images": 0}).Reload()
    assert {"calibration/before", "calibration/after"} <= set(events.Tags()["images"])
    assert train("predict", *words).code == 0
    with open("logs/digits/a/predictions.csv", newline="") as file:
        calibrated = [float(row["confidence"]) for row in csv.DictReader(file)]
    again = train("validate", *words, "--calibrate", "true")  # begins with the logits as they are
    assert f"temperature {temperature:.4f}" in again.out
    assert len(calibrated) == 359
    resumed = train("fit", *words, *PLAIN, "--trainer.max_epochs", "3", "--model.scheduler", "null", "--resume", "auto")
    assert resumed.code == 2  # the schedule spans all epochs; nothing else stands in the way
    assert Path(BEST).is_file()


def test_cross_entropy_is_that_of_scaled_logits(train: Train) -> None:
    words = ("--config", DIGITS, "--run_name", "a")
    assert train("fit", *words, *PLAIN, "--trainer.max_epochs", "2").code == 0
    result = train("validate", *words, "--calibrate", "true")
    after = float(result.out.split("after ")[1].split()[0])
    (shown,) = re.findall(r"val/loss +(\S+)", result.out)
    assert float(shown) == pytest.approx(after, abs=1e-4)
    assert re.findall(r"val/loss +(\S+)", train("validate", *words).out) == [shown]
    model = load_model(BEST)
    data = model.predict.data
    data.load()
    val = data.splits["val"]
    inputs, targets = val.__getitems__(list(range(len(val))))
    with torch.inference_mode():
        logits = model(data.transformed(inputs))
    assert float(cross_entropy(logits, targets)) == pytest.approx(after, abs=1e-4)


def test_mistakes(train: Train) -> None:
    words = ("--config", DIGITS, "--run_name", "a")
    assert train("fit", *words, *PLAIN, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2").code == 0
    assert "test takes no --calibrate; it belongs to validate" in train("test", *words, "--calibrate", "true").err
    result = train("validate", *words, "--calibrate", "true", "--model", "trainworks.tests.strangers.Validated")
    assert result.code != 0
