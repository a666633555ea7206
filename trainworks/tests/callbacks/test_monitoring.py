"""The callbacks that watch a training, one by one; what TensorBoard shows: test_tensorboard.py."""

import csv
import json
import re
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import yaml
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from matplotlib import font_manager
from matplotlib.colors import to_hex
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from trainworks.callbacks import EvaluationFigures, SpeedMonitor, Trace
from trainworks.callbacks.evaluation_figures import Mistakes, _saliency
from trainworks.callbacks.helpers.batch import batch_size
from trainworks.callbacks.helpers.isolation import isolated
from trainworks.callbacks.helpers.loggers import never_fatal, send_media, send_scalars, steps_so_far
from trainworks.callbacks.speed_monitor import StepTimer
from trainworks.datamodules.datasets import ArrayDataset
from trainworks.models.colors import color_of
from trainworks.models.drawing import denormalize, draw_sample, draw_target
from trainworks.models.fonts import font_for, use_font_for
from trainworks.models.metrics import ReliabilityDiagram
from trainworks.models.results import BoxResult, ClassResult, MaskResult
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, QUICK, Train
from trainworks.tests.examples.classifier import ClassifierModule
from trainworks.tests.test_exact_resume import scalars

TEN = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "10", "--run_name", "a")


class Slow(nn.Module):
    """A transform, or a network around another one, that takes its time."""

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net or nn.Identity()

    def forward(self, *inputs: Any) -> Any:
        time.sleep(0.05)
        return self.net(inputs[0]) if len(inputs) == 1 else inputs


class ImageLogger(CSVLogger):
    """Takes images as the logger of Weights & Biases does."""

    def log_image(self, key: str, images: list[Any], step: int) -> None:
        with Path(self.log_dir, "images.txt").open("a") as file:
            file.write(f"{key} {type(images[0]).__name__} {step}\n")

    def log_text(self, key: str, columns: list[str], data: list[Any], step: int) -> None:
        with Path(self.log_dir, "images.txt").open("a") as file:
            file.write(f"{key} text {step}\n")


@pytest.mark.long
def test_it_names_what_holds_the_training_back(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"class_path": "trainworks.tests.callbacks.test_monitoring.Slow"}
    (tmp_path / "transform.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"train_transform+": [slow]}}}))
    quiet = ("--callbacks.figures", "null")
    fast = ArrayDataset.__getitems__
    with monkeypatch.context() as patched:
        patched.setattr(ArrayDataset, "__getitems__", lambda *keys: time.sleep(0.05) or fast(*keys))
        result = train("--config", DIGITS, *TEN, *quiet)
        assert re.search(r"samples/s; \d\d% of the step waited for data: a larger data.batch_size", result.out)
        patched.setattr(ArrayDataset, "serves_batches", False)
        patched.setattr(ArrayDataset, "__getitems__", None)
        one = ArrayDataset.__getitem__
        patched.setattr(ArrayDataset, "__getitem__", lambda *key: time.sleep(0.001) or one(*key))
        result = train("--config", DIGITS, *TEN[:-1], "files", *quiet, "--data.num_workers", "0")
    assert re.search(r"\d\d% of the step waited for data: raise data.num_workers from 0\n", result.out), result.out
    result = train("--config", DIGITS, "--config", "transform.yaml", *TEN[:-1], "b", *quiet)
    assert re.search(r"\d\d% of the step went into batch transforms", result.out), result.out + result.err
    net = ("--model.net", "trainworks.tests.callbacks.test_monitoring.SlowNet")
    large = "trainworks.callbacks.speed_monitor.LARGE_STEP_FLOPS"
    bf16 = ": trainer.precision bf16-mixed made such steps"
    plain = ("--trainer.precision", "32-true")
    typed = ("--trainer.precision", "bf16-mixed")
    for able, least, advice, precision in (
        (True, 1.0, bf16, plain),
        (True, 1e9, "\n", plain),
        (False, 1.0, "\n", plain),
        (True, 1.0, "\n", typed),
    ):
        found = {"avx2": True, "avx512_bf16": able}
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda found=found: found)
        monkeypatch.setattr(large, least)
        name = f"{able}-{least}-{precision[1]}"
        result = train("--config", DIGITS, *TEN[:-1], name, *quiet, *net, *precision, "--trainer.accelerator", "cpu")
        pattern = rf"\d\d% of the step was the network itself{advice}"
        assert re.search(pattern, result.out), result.out + result.err
    shares = {tag: values[-1][1] for tag, values in scalars_of_speed(Path("logs/digits/False-1.0-32-true")).items()}
    assert shares["speed/forward"] > 0.5
    (speed,) = re.findall(r"^([\d,]+) samples/s", result.out, re.MULTILINE)
    steps = scalars_of_speed(Path(f"logs/digits/{name}"))["speed/samples_per_second"]
    assert float(speed.replace(",", "")) == pytest.approx(steps[-1][1], rel=0.5)
    parts = ("data", "transfer", "forward", "backward", "optimizer", "other")
    assert sum(shares[f"speed/{part}"] for part in parts) == pytest.approx(1.0, abs=1e-5)


class SlowNet(Slow):
    """A slow classifier of digits."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


def scalars_of_speed(run: Path) -> dict[str, list[tuple[int, float]]]:
    found = scalars(run, but="")
    return {tag: values for tag, values in found.items() if tag.startswith("speed/")}


def test_time_of_forward_and_backward_is_not_the_optimizers() -> None:
    timer = StepTimer(torch.device("cpu"))
    now = iter([0.0, 1.0, 2.0, 5.0, 5.0, 7.0, 8.0, 10.0])
    timer._now = lambda: next(now)  # type: ignore[method-assign]
    timer.start("whole_step")
    timer.start("[LightningModule]ClassifierModule.optimizer_step")
    timer.start("[Strategy]SingleDeviceStrategy.training_step")
    timer.stop("[Strategy]SingleDeviceStrategy.training_step")
    timer.start("[Strategy]SingleDeviceStrategy.backward")
    timer.stop("[Strategy]SingleDeviceStrategy.backward")
    timer.stop("[LightningModule]ClassifierModule.optimizer_step")
    timer.stop("whole_step")
    assert timer.shares() == pytest.approx(
        {"data": 0, "transfer": 0, "forward": 0.3, "backward": 0.2, "optimizer": 0.2, "other": 0.3}
    )


def test_operations_are_counted_and_compared_with_the_peak(train: Train) -> None:
    flat = ("--model.net", "trainworks.tests.callbacks.test_monitoring.Plain", "--data.train_transform", "[]")
    dtype = ("--data.eval_transform", "[]")
    result = train("--config", DIGITS, *QUICK, *flat, *dtype)
    assert result.code == 0, result.err
    module = Plain()
    trainer: Any = Trainer(logger=False, accelerator="cpu")
    monitor = SpeedMonitor()
    wrapped = ClassifierModule(net=module, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.SGD)
    wrapped._trainer = trainer
    batch = torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.long)
    monitor.on_train_start(trainer, wrapped)
    monitor.on_train_batch_start(trainer, wrapped, batch, 0)
    assert monitor._step_flops == 3 * 4 * 2 * 64 * 10  # of four samples: forward, and twice that backward
    assert monitor._peak_flops > 1e8


class Plain(nn.Module):
    """Takes bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1) / 255)  # type: ignore[no-any-return]


def test_samples_of_a_batch_are_counted() -> None:
    images, targets = torch.zeros(4, 3, 8, 8), [{"boxes": torch.zeros(0, 4)}] * 4
    for batch in ((images, torch.zeros(4)), {"image": images}, [images], (list(images), targets), images):
        assert batch_size(batch) == 4
    assert batch_size(([images, images], torch.zeros(4))) == 4  # two views of each
    assert batch_size([]) == batch_size("text") == 0


def test_a_trace_and_the_costliest_operations(train: Train, tmp_path: Path) -> None:
    profile = ("--config", DIGITS, "--config", str(CONFIGS / "overlays/profile.yaml"))
    result = train(*profile, *QUICK[:2], *QUICK[4:], "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    trace = json.loads((tmp_path / "logs/digits/a/trace.json").read_text())
    steps = {event["name"] for event in trace["traceEvents"] if event["name"].startswith("ProfilerStep#")}
    assert steps == {f"ProfilerStep#{number}" for number in range(11, 16)}
    rows = re.findall(r"^ +(\d+\.\d)% +[\d.]+ ms +(\d+) calls +\S+", result.out, re.MULTILINE)
    assert "no trace" not in result.out
    assert len(rows) == 10 and [float(share) for share, _ in rows] == sorted((float(s) for s, _ in rows), reverse=True)
    result = train(*profile, *QUICK, "--run_name", "b")
    assert "no trace: recording starts after 10 steps" in result.out
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 5"):
        Trace(wait=0)


def test_lines_have_colours_that_colour_blind_people_tell_apart() -> None:
    before = plt.rcParams["axes.prop_cycle"]
    with never_fatal("lines"):
        figure, axes = plt.subplots()
        lines = axes.plot([[0, 1, 2], [1, 2, 3]])
    plt.close(figure)
    assert [to_hex(line.get_color()) for line in lines] == ["#0072b2", "#d55e00", "#009e73"]
    assert plt.rcParams["axes.prop_cycle"] == before


def test_a_figure_that_fails_does_not_end_the_training(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: Any = MulticlassConfusionMatrix(10)
    broken.plot = lambda *_, **__: 1 / 0
    monkeypatch.setattr(ClassifierModule, "figure_metrics", lambda *_: {"broken": broken})
    result = train("--config", DIGITS, *TEN)
    assert (result.code, result.err) == (0, "")
    assert "the figure broken/val could not be drawn: ZeroDivisionError: division by zero" in result.out
    assert "the figure broken/test could not be drawn" in result.out
    assert "test/accuracy" in result.out


def test_a_network_with_more_outputs_than_classes_trains_without_figures(train: Train) -> None:
    words = ("--model.net.num_classes", "12", "--model.metrics", "null")
    result = train("fit", "--config", DIGITS, *words, *TEN)
    assert (result.code, result.err) == (0, "")
    assert (
        result.out.count("figures are left out: accuracy_by_class: MulticlassAccuracy cannot take predictions of") == 1
    )
    assert "mistakes/val" in EventAccumulator("logs/digits/a").Reload().Tags()["images"]


def test_many_classes_are_drawn_without_names_and_in_little_time(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "many.npz", inputs=np.random.default_rng(0).random((200, 7)), targets=np.arange(200) % 100)
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(
        "trainworks.callbacks.evaluation_figures.send_media", lambda _, tag, figure, __: drawn.update({tag: figure})
    )
    result = train("--config", str(CONFIGS / "arrays.yaml"), "--data.train", "many.npz", *TEN)
    assert (result.code, result.err) == (0, "")
    assert set(drawn) == {
        f"{name}/{s}" for name in ("confusion_matrix", "accuracy_by_class", "calibration") for s in ("val", "test")
    }
    axes = [axis for figure in drawn.values() for axis in figure.axes]
    assert all(axis.get_legend() is None for axis in axes)
    assert not drawn["confusion_matrix/test"].axes[0].texts  # no number in each square
    events = EventAccumulator("logs/arrays/a").Reload().Tags()["tensors"]
    assert len([tag for tag in events if tag.startswith("pr_curve/test")]) == 25


class Shows(Callback):
    """Sends a picture and a number by what callbacks of one's own are given."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        send_media(trainer, "own/picture", torch.rand(3, 4, 4), steps_so_far(trainer))
        send_scalars(trainer, {"own/number": float(trainer.global_step)}, steps_so_far(trainer))


def test_other_loggers_get_what_they_take(train: Train, tmp_path: Path) -> None:
    board = {"class_path": "TensorBoardLogger", "init_args": {"save_dir": ".", "name": "", "version": ""}}
    images = {"class_path": "trainworks.tests.callbacks.test_monitoring.ImageLogger", "init_args": {"save_dir": "csv"}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"trainer": {"logger": [board, images]}}))
    own = ("--callbacks.own", "trainworks.tests.callbacks.test_monitoring.Shows")
    result = train("--config", DIGITS, "--config", "two.yaml", *own, *TEN)
    assert (result.code, result.err) == (0, "")
    run = tmp_path / "logs/digits/a"
    folder = run / "csv/lightning_logs/version_0"
    shown = {tuple(line.split()[:2]) for line in (folder / "images.txt").read_text().splitlines()}
    assert {("confusion_matrix/val", "Figure"), ("own/picture", "ndarray"), ("config", "text")} <= shown
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    curves = scalars(run)
    for tag in ("train/loss_step", "own/number", "val/accuracy", "test/loss", "best/val/loss"):
        values = [float(row[tag]) for row in rows if row.get(tag)]
        assert values == pytest.approx([value for _, value in curves[tag]]), tag


def test_a_csv_logger_alone(train: Train, tmp_path: Path) -> None:
    words = ("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "csv")
    result = train("--config", DIGITS, *words, *TEN)
    assert (result.code, result.err) == (0, "")
    assert not list((tmp_path / "logs/digits/a").glob("events*"))
    assert "tensorboard --logdir" not in result.out  # nothing was written for it
    file = tmp_path / "logs/digits/a/csv/lightning_logs/version_0/metrics.csv"
    header = file.read_text().splitlines()[0].split(",")
    assert {"train/loss_step", "speed/forward", "val/accuracy", "test/accuracy"} <= set(header)


def test_the_worst_answers_of_a_classifier() -> None:
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 4, 4)
    logits = torch.tensor([[9.0, 0], [0, 1], [3, 0], [2, 0], [0, 4]])
    mistakes = Mistakes(2)
    mistakes.update((images[:3], None), logits[:3], torch.tensor([0, 0, 1]))
    mistakes.update((images[3:], None), logits[3:], torch.tensor([1, 1]))
    expected = torch.softmax(logits, 1).amax(1)
    assert [item[0] for item in mistakes.worst] == pytest.approx([float(expected[2]), float(expected[3])])
    assert [tuple(int(part.flatten()[0]) for part in item[1:4]) for item in mistakes.worst] == [(2, 1, 0), (3, 1, 0)]


def test_the_worst_masks_and_boxes() -> None:
    images = torch.rand(2, 3, 4, 4)
    targets = torch.zeros(2, 4, 4, dtype=torch.long)
    targets[0, 0], targets[1, :2] = 255, 1
    mistakes = Mistakes(4)
    mistakes.update((images, targets), torch.stack([torch.ones(2, 4, 4), torch.zeros(2, 4, 4)], 1), targets)
    assert [severity for severity, *_ in mistakes.worst] == [0.5]  # ignored pixels count for nothing
    boxes = torch.tensor([[0.0, 0, 2, 2], [2, 2, 4, 4]])
    truth = [{"boxes": boxes, "labels": torch.tensor([1, 2])}] * 2
    found = [
        {"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.9, 0.8])},
        {"boxes": boxes, "labels": torch.tensor([1, 1]), "scores": torch.tensor([0.9, 0.8])},
    ]
    mistakes = Mistakes(4)
    mistakes.update((list(images), truth), found, truth)
    assert [severity for severity, *_ in mistakes.worst] == [0.5]
    module: Any = LightningModule()
    figure = mistakes.draw(Trainer(logger=False, accelerator="cpu"), module, [])
    assert [axis.get_title() for axis in figure.axes] == ["50% wrong", ""]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert np.abs(shown - images[1].permute(1, 2, 0).numpy()).max() > 0.1  # boxes over it


def test_what_is_neither_classes_masks_nor_boxes_has_no_mistakes() -> None:
    images, targets, logits = torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.long), torch.rand(4, 5)
    masks = torch.zeros(4, 8, 8, dtype=torch.long)
    for inputs, predictions, wanted in (
        (images, images, images),  # other images
        (images, (logits, logits), targets),  # two heads
        (images, {"kind": logits, "size": logits}, {"kind": targets, "size": targets}),
        (images, logits, {"kind": targets}),
        (images, [{"keypoints": logits}] * 4, [{"keypoints": logits}] * 4),
        (images, logits[:, :1], targets),  # one logit has no likeliest class
        (images, images[:, :1], masks),
        (images, images[:, :, ::2, ::2], masks),  # smaller than its targets
        (images, None, None),
        (["one", "two", "three", "four"], logits, targets),
    ):
        mistakes = Mistakes(2)
        mistakes.update((inputs, wanted), predictions, wanted)
        assert mistakes.worst == []


def test_the_worst_samples_of_a_test_are_drawn_with_their_rows(tmp_path: Path) -> None:
    trainer, module = Trainer(logger=False, accelerator="cpu"), LightningModule()
    images = torch.rand(3, 3, 4, 4)
    worst = Mistakes(25)
    losses = [0.25, float("nan"), 1.5]
    rows = [{"input": f"a/$b_{k}$.png", "target": "cat", "class": "dog", "loss": loss} for k, loss in enumerate(losses)]
    worst.update((images, None), [ClassResult("dog", 0.9, {})] * 3, torch.zeros(3), rows)
    figure = worst.draw(trainer, module, ["cat", "dog"])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [f"$b_{k}$.png\ntarget cat\nclass dog\nloss {losses[k]:.3g}" for k in (2, 0)]
    figure.savefig(tmp_path / "worst.png")  # dollars are no formula
    plt.close(figure)
    worst = Mistakes(1)
    heads = {"kind": torch.zeros(3), "size": torch.zeros(3)}
    worst.update((images, heads), [ClassResult("dog", 0.9, {})] * 3, heads, rows)
    assert worst.worst[0][0] == 1.5 and np.allclose(worst.worst[0][1], images[2])
    plt.close(worst.draw(trainer, module, ["cat", "dog"]))
    masks, worst = torch.zeros(2, 4, 4, dtype=torch.uint8), Mistakes(1)
    results = [MaskResult(mask, 0.5, ["cat", "dog"]) for mask in masks]
    worst.update(
        (images[:2], None), results, masks.long(), [{"input": k, "iou": iou} for k, iou in enumerate((0.5, 0.2))]
    )
    figure = worst.draw(trainer, module, [])
    assert [axis.get_title() for axis in figure.axes] == ["1\niou 0.2", ""]
    assert np.allclose(figure.axes[1].images[0].get_array(), images[1].permute(1, 2, 0))
    plt.close(figure)


def test_saliency_is_the_gradient_of_the_answer() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
    module: Any = LightningModule()
    module.net = net
    found = _saliency(module, torch.zeros(1, 1, 2, 2), torch.tensor(2))
    assert torch.equal(found[0], net[1].weight[2].abs().view(2, 2))
    assert net[1].weight.grad is None


def test_masks_and_boxes_are_drawn_over_images() -> None:
    image, mask = torch.zeros(3, 8, 8), torch.zeros(8, 8, dtype=torch.long)
    assert torch.equal(draw_target(image, mask), image)
    mask[2:4] = 1
    assert (draw_target(image, mask).amax(dim=0)[2:4] > 0).all() and (draw_target(image, mask)[:, 4:] == 0).all()
    boxes = {"boxes": torch.tensor([[1.0, 1, 36, 36]]), "labels": torch.tensor([1])}
    drawn = draw_sample(torch.zeros(1, 40, 40), boxes, names=["", "cat"])
    assert (drawn[:, 36, 36] * 255).tolist() == pytest.approx(color_of(1))  # a corner
    assert draw_sample(torch.zeros(5, 40, 40, dtype=torch.uint8), boxes, scale=2)[0, 72, 72] > 0
    odd = {"boxes": torch.tensor([[1.0, 1, float("nan"), 6], [6, 6, 1, 1]]), "labels": torch.tensor([1, 2])}
    assert torch.equal(draw_target(image, odd), image)
    assert torch.equal(draw_target(image, torch.tensor(3)), image)


def test_normalisation_is_undone() -> None:
    from torchvision.transforms import v2

    images = torch.rand(2, 3, 4, 4)
    steps = [v2.Normalize([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])]
    assert torch.allclose(denormalize(steps[0](images), steps), images, atol=1e-6)  # type: ignore[arg-type]
    assert denormalize(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), []).max() == 1
    assert denormalize(torch.linspace(-2, 3, 5).view(1, 1, 1, 5), []).flatten().tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_nothing_of_a_training_is_disturbed() -> None:
    module: Any = LightningModule()
    module.net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    module.net.train()
    module.net[0].eval()  # frozen
    before = torch.get_rng_state()
    with isolated(module):
        assert not module.net.training
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in (module.net, module.net[0], module.net[1])] == [True, False, True]


def test_calibration_counts_what_was_right() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.1, 0.0], [0.0, 0.1]])
    metric = ReliabilityDiagram(num_bins=10)
    metric.update(logits, torch.tensor([0, 0, 0, 0]))
    number, confidence, right = metric.compute()
    assert number.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert confidence[9] == pytest.approx(float(torch.softmax(logits[0], 0)[0]))
    assert (right[5], right[9]) == (0.5, 0.5)
    metric.update(torch.full((1, 2), torch.nan), torch.tensor([0]))  # a network that broke down


def test_the_loss_of_a_step_is_that_of_its_batch_when_gradients_accumulate(train: Train) -> None:
    words = ("--trainer.accumulate_grad_batches", "2", "--trainer.log_every_n_steps", "1")
    assert train("--config", DIGITS, *QUICK[:2], *QUICK[4:], *words, "--run_name", "a").code == 0
    curves = scalars(Path("logs/digits/a"))
    losses = [value for _, value in curves["train/loss_step"]]
    assert len(losses) == 20
    assert sum(losses) / 20 == pytest.approx(curves["train/loss"][-1][1], rel=1e-4)


def test_an_evaluation_is_shown_at_the_step_of_its_checkpoint(train: Train, tmp_path: Path) -> None:
    words = ("--config", DIGITS, "--run_name", "a")
    fit = ("--trainer.limit_train_batches", "3", "--trainer.max_epochs", "2", *PLAIN)
    assert train("fit", *words, *fit).code == 0
    assert train("validate", *words, "--ckpt_path", "logs/digits/a/checkpoints/last.ckpt").code == 0
    assert train("test", *words).code == 0
    found = EventAccumulator(str(tmp_path / "logs/digits/a")).Reload()
    validated = [event.step for event in found.Scalars("val/loss")]
    assert len(validated) == 3 and validated[-1] == validated[-2] == 5  # counted from 0
    assert next(event.step for event in found.Scalars("test/loss")) in validated[:2]  # that of best.ckpt


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"got 0 and 8"):
        EvaluationFigures(every_n_minutes=0)
    with pytest.raises(ValueError, match="must be at least 2, got 1"):
        ReliabilityDiagram(num_bins=1)


def write_font(path: Path, letters: str) -> None:
    """Write a font in which each letter is a square of its own width."""
    builder = FontBuilder(1000)
    names = [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    glyphs = {}
    for number, name in enumerate(names):
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0))
        for corner in ((0, 700), (200 * number, 700), (200 * number, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(names, (500, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Written Here", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def test_names_in_letters_that_the_usual_font_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(plt.rcParams, "font.family", ["sans-serif"])
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path) for path in tmp_path.glob("*.ttf")])
    font_for.cache_clear()
    for _ in range(2):
        use_font_for(["cat", "über", "\u732b\u56fd"])
    told = "figures cannot show \u56fd\u732b: no installed font has all of it; install one, such as the package "
    told += "fonts-noto-cjk"
    assert capsys.readouterr().out == f"{told}\n"  # once
    assert plt.rcParams["font.family"] == ["sans-serif"]
    write_font(tmp_path / "here.ttf", "\u732b\u56fdü catber")
    use_font_for(["cat", "\u732b"])
    assert plt.rcParams["font.family"] == ["sans-serif", "Written Here"]
    figure, axes = plt.subplots()
    axes.set_title("\u732b cat")
    with warnings.catch_warnings(action="error"):  # Matplotlib warns of a letter that it draws as a box
        figure.savefig(tmp_path / "title.png")
    plt.close(figure)
    result = BoxResult(torch.tensor([[5.0, 5.0, 30.0, 30.0]]), ["\u732b"], [0.9])
    labels = (["\u732b"], ["\u56fd"])
    one, two = (np.asarray(replace(result, labels=label).image(torch.zeros(3, 40, 60))) for label in labels)
    assert not np.array_equal(one, two)  # two boxes of the usual font would be the same
    font_for.cache_clear()
