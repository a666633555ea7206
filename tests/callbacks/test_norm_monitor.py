import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from trainworks.testing import PLAIN, Train

FIT = ("fit", "--config", "plain.yaml", *PLAIN, "--run_name", "a")
CSV = "logs/plain/a/csv/lightning_logs/version_0/metrics.csv"


class TwoNets(LightningModule):
    """Manual optimization with two optimizers."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.nets = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 64)])

    def training_step(self, batch: Any, batch_idx: int) -> None:
        images = batch[0].flatten(1) / 255
        for optimizer, net in zip(self.optimizers(), self.nets, strict=True):  # type: ignore[arg-type]
            optimizer.zero_grad()
            self.manual_backward(nn.functional.mse_loss(net(images), images))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(net.parameters(), 0.01) for net in self.nets]


def norms() -> dict[str, list[float]]:
    events = EventAccumulator("logs/plain/a", size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("norm/")]
    return {tag: [event.value for event in events.Scalars(tag)] for tag in tags}


def test_every_logger_gets_the_norms_of_the_training(train: Train, tmp_path: Path) -> None:
    board = {"class_path": "TensorBoardLogger", "init_args": {"save_dir": ".", "name": "", "version": ""}}
    table = {"class_path": "CSVLogger", "init_args": {"save_dir": "csv"}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"trainer": {"logger": [board, table]}}))
    result = train(*FIT, "--config", "two.yaml")
    assert (result.code, result.err) == (0, "")
    rows, shown = csv.DictReader(Path(CSV).read_text().splitlines()), norms()
    assert set(shown) == {"norm/gradient", "norm/weight"}
    values = [float(row["norm/gradient"]) for row in rows if row.get("norm/gradient")]
    assert values == pytest.approx(shown["norm/gradient"])
    weights = torch.load("logs/plain/a/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    norm = torch.cat([value.flatten() for value in weights.values()]).norm()
    assert shown["norm/weight"][-1] == pytest.approx(float(norm), rel=0.02)  # before the last step


def test_a_csv_logger_alone(train: Train) -> None:
    result = train(*FIT, "--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "csv")
    assert (result.code, result.err) == (0, "")
    assert "norm/weight" in Path(CSV).read_text().splitlines()[0].split(",")


def test_each_optimizer_has_norms_of_its_own(train: Train, config: Path) -> None:
    config.write_text(f"model: {__name__}.TwoNets\ndata:{config.read_text().partition('data:')[2]}")
    words = ("--data.batch_size", "8", "--trainer.limit_train_batches", "12", "--trainer.log_every_n_steps", "2")
    result = train(*FIT, *words)
    assert (result.code, result.err) == (0, "")
    found = {tag: len(values) for tag, values in norms().items()}
    assert found == {f"norm/{kind}_{number}": 12 for kind in ("gradient", "weight") for number in (0, 1)}
