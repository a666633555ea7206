import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from src.datamodules.diabetes import DiabetesDataModule
from src.models.networks.rescaled import Rescaled
from src.models.regressor import RegressorModule
from trainworks.models import load_model
from trainworks.testing import ROOT, Train

CONFIG = str(ROOT / "configs/diabetes.yaml")
RUN = f"logs/{Path(CONFIG).stem}/a"
MARGIN = 1.05  # our error may be so much larger than ridge's; the test set has 88 patients


def test_the_loss_has_no_units_and_the_predictions_have() -> None:
    net = Rescaled(nn.Linear(3, 2), mean=[100.0, 0.0], std=[50.0, 0.01])
    inputs, standard = torch.rand(8, 3), torch.randn(8, 2)
    targets = standard * net.std + net.mean
    module = RegressorModule(net, nn.MSELoss(), torch.optim.SGD)
    loss, predictions, returned = module.step((inputs, targets))
    assert loss.item() == pytest.approx(nn.functional.mse_loss(net.net(inputs), standard).item(), rel=1e-4)
    assert torch.equal(predictions, net(inputs))
    assert torch.equal(returned, targets)


def test_one_target_and_a_network_without_scale() -> None:
    module = RegressorModule(nn.Linear(3, 1), nn.L1Loss(), torch.optim.SGD)
    inputs, targets = torch.rand(8, 3), torch.rand(8)
    loss, predictions, _ = module.step((inputs, targets))
    assert predictions.shape == (8,)
    assert loss.item() == pytest.approx((predictions - targets).abs().mean().item())
    results = module.predict_step((inputs, targets), 0)
    assert [result.value for result in results] == predictions.tolist()
    assert module.predict_step(inputs, 0) == results


def errors_of_others(splits: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """What scikit-learn reaches on the same samples."""
    (x, y), (x_test, y_test) = ((splits[name].inputs, splits[name].targets) for name in ("train", "test"))
    models = {"ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 20)))}
    models["gradient boosting"] = GradientBoostingRegressor(random_state=0)
    found = {}
    for name, model in models.items():
        pair = y_test, model.fit(x, y).predict(x_test)
        found[name] = root_mean_squared_error(*pair), mean_absolute_error(*pair), r2_score(*pair)
    return found


@pytest.mark.long
def test_diabetes_against_scikit_learn(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--config", CONFIG, "--run_name", "a").code == 0
    metrics = json.loads(Path(f"{RUN}/run.json").read_text())["metrics"]
    ours = tuple(metrics[f"test/{name}"] for name in ("rmse", "mae", "r2"))
    data = DiabetesDataModule()
    data.load()
    table = {"this network": ours, **errors_of_others(data.splits)}
    with capsys.disabled():
        print(f"\n{'':<20}{'RMSE':>8}{'MAE':>8}{'R2':>8}")
        for name, values in table.items():
            print(f"{name:<20}" + "".join(f"{value:8.3f}" for value in values))
    assert ours[0] <= MARGIN * table["ridge"][0]
    assert ours[2] > 0.5

    assert train("predict", "--config", CONFIG, "--run_name", "a").code == 0
    with open(f"{RUN}/predictions.csv") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    mean = np.mean([abs(row["value"] - row["target"]) for row in rows])
    assert len(rows) == 88
    assert mean == pytest.approx(metrics["test/mae"], rel=1e-4)

    model = load_model(f"{RUN}/checkpoints/best.ckpt")
    with torch.no_grad():
        outputs = model(data.splits["test"].inputs)  # type: ignore[attr-defined]
        expected = model(torch.ones(4, 10)).flatten().tolist()
    assert outputs[:, 0].tolist() == pytest.approx([row["value"] for row in rows], rel=1e-4)
    assert [answer.value for answer in model.predict(np.ones((4, 10), np.float32))] == expected
