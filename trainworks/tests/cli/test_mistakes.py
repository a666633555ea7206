"""Each mistake gives one short message, exit code 2 and no traceback, and leaves no run behind."""

import re
import sys
from pathlib import Path

import pytest

from trainworks.tests.conftest import DIGITS, QUICK, Train

MISTAKES = {
    "": "nothing to do; write python train.py --config configs/digits.yaml",
    "tset --config C": r"unknown command 'tset' \(did you mean test\?\)",
    "--config nope.yaml": "--config nope.yaml: no such file",
    "fit": "no --config given",
    "configs/digits.yaml": "unexpected 'configs/digits.yaml'; write --config configs/digits.yaml",
    "--confg C": "'confg' is not a key of the configuration",
    "--config C --version": "a training takes no --version; it takes --run_name, --resume",
    "--config C --max_epoch 1": r"'max_epoch' is not a key .* \(did you mean trainer.max_epochs\?\)",
    "--config C --run_nam a": r"'run_nam' is not a key .* \(did you mean run_name\?\)",
    "check --config C --batchsize 3": r"'batchsize' is not a key .* \(did you mean data.batch_size\?\)",
    "sweep --config C --sweep x --num_trails 2": r"'num_trails' is not a key .* \(did you mean num_trials\?\)",
    "--config C --callbacks.finite.skip null": "callbacks.finite.init_args.skip: expected bool, got None",
    "--config C --callbacks.progres null": r"callbacks.progres null: .* 'progres' \(did you mean progress\?\)",
    "fit --config C --ckpt_path x.ckpt": "fit takes no --ckpt_path; .*; a training goes on with --resume auto",
    "--config C foo": "unexpected 'foo'",
    "--config C --trainer.max_epochs": "--trainer.max_epochs needs a value",
    "--config C --modle 3": r"'modle' is not a key of the configuration \(did you mean model\?\)",
    "--config C --devices 2": r"'devices' is not a key of the configuration \(did you mean trainer.devices\?\)",
    "--config C --optimizer.lr 1": r"'optimizer.lr' is not a key .* \(did you mean model.optimizer.lr\?\)",
    "--config C --model.lr 1": r"ClassifierModule takes no 'lr' \(did you mean model.optimizer.lr\?\)",
    "--config C --seed 1": r"'seed' is not a key .* \(did you mean seed_everything\?\)",
    "--config C --name x": r"'name' is not a key .* \(did you mean run_name\?\)",
    "--config C --epochs 3": r"'epochs' is not a key .* \(did you mean trainer.max_epochs\?\)",
    "--config C --workers 3": r"'workers' is not a key .* \(did you mean data.num_workers\?\)",
    "--config C fit": "unexpected 'fit'; options are written --key value after the command, as in python train.py",
    "--config C --data.lr 1": "DigitsDataModule takes no 'lr'; it takes num_classes, ",
    "--config C --trainer.max_epohs 3": r"trainer.max_epohs is not an option of Trainer \(did you mean max_epochs\?\)",
    "--config C --trainer.max_epochs many": "trainer.max_epochs: expected int or null, got many",
    "--config C --trainer.max_epochs -5": "max_epochs. must be a non-negative integer or -1. You passed in -5",
    "--config C --trainer.accelerator abacus": "invalid accelerator name",
    "--config C --trainer.precision 3": "trainer.precision: expected .* got 3",
    "--config C --callbacks.last.every_n_epochs -1": "every_n_epochs and num_older must be at least 0.*got -1",
    "--config C --callbacks.last.every_n_minutes 0": "every_n_minutes above 0; got 1, 1, None, 0",
    "--config C --callbacks.last.num_older -1": "num_older must be at least 0",
    "--config C --callbacks.progress.refresh_seconds 0": "refresh_seconds and line_seconds must be above 0, got 0",
    "--config C --trainer.accumulate_grad_batches 0": "accumulate_grad_batches must be at least 1, got 0",
    "--config C --trainer null": "trainer.default_root_dir must be a folder's name",
    "--config C --trainer.logger nope": "trainer.logger: expected Logger",
    "--config C --trainer.callbacks [3]": r"trainer.callbacks: expected list\[Callback\]",
    "--config C --callbacks.bst.monitor val/loss": r"callbacks.bst has no class_path \(did you mean best\?\)",
    "--config C --seed_everything x": "seed_everything: expected bool, int, got x",
    "--config C --run_name a/b": "--run_name must be a plain folder name, got 'a/b'",
    "--config C --model.net timm.create_model --model.net.model_name resnet18 --model.net.num_classes 3": (
        r"timm.create_model takes no 'num_classes'; what it passes on .* dict_kwargs: \{num_classes: ...\}, or "
        r"--model.net.dict_kwargs.num_classes VALUE"
    ),
    "--config C --model.net timm.create_model --model.net.model_nam resnet18": (
        r"timm.create_model takes no 'model_nam' \(did you mean model_name\?\); what it passes on to others"
    ),
    "--config C --model.net torchvision.models.resnet18 --model.net.num_clases 3": r"\(did you mean num_classes\?\)",
    "--config C --callbacks.progress.foo 3": "ProgressPrinter takes no 'foo'; it takes refresh_seconds, line_seconds$",
    "--config C --model.net.num_clases 3": r"SmallCNN takes no 'num_clases' \(did you mean num_classes\?\)",
    "--config C --model.bogus 3": r"model.init_args.bogus: [\w.]+.ClassifierModule takes no 'bogus'",
    "--config C --model.class_path nope.Model": "model: class_path 'nope.Model': there is no module 'nope'",
    "--config C --model.class_path trainworks.models.BaseModul": "there is no trainworks.models.BaseModul",
    "--config C --model.class_path torch.nn.Linear": "model: torch.nn.Linear is not a LightningModule",
    "--config C --model Classifier": "model: 'Classifier' is no import path; write package.module.Class",
    "--config C --model.net resnet18": "model.init_args.net: 'resnet18' is no import path; write package.module.Class",
    "--config C --model.net.class_path trainworks.tests.examples.networks.SmalCNN": r"\(did you mean SmallCNN\?\)",
    "--config C --model.net.layers [0,3]": "every number at least 1; got .*layers",
    "--config C --model.net.layers 5": "layers: expected list, got 5",
    "--config C --model.net.dropout 1": r"dropout must be in \[0, 1\), got 1",
    "--config C --model.loss 3": "model.init_args.loss: expected Module or null, got 3",
    "--config C --model.optimizer.lr x": "model.init_args.optimizer.init_args.lr: expected float, Tensor, got x",
    "--config C --model.scheduler.class_path torch.optim.SGD": "torch.optim.SGD is not a .*LRScheduler",
    "--config C --model.metrics.accuracy.average foo": "average: expected 'micro', .* got foo",
    "--config C --data.batch_size 0": "data.batch_size must be at least 1, got 0",
    "--config C --data.batch_size big": "data.init_args.batch_size: expected int, got big",
    "--config C --data.num_workers -1": "data.num_workers must be at least 0, got -1",
    "--config C --data.train_transform.7.pixels 3": "'7' picks none of the list's 3 elements",
    "--config C --data.num_classes ${nope.x}": "refers to nope.x, which is not set",
    "--config C --data trainworks.datamodules.VisionDataModule": (
        "data: .*VisionDataModule needs root, train_dataset; write a"
    ),
    "--config C --data.val_fraction 1.5": r"data.val_fraction must be in \[0, 1\), got 1.5",
    "--config C --data.sampling random": "sampling: expected 'shuffle', 'balanced', 'weighted', got random",
    "--config C --data.num_folds 1": "data.num_folds must be at least 2, got 1",
    "--config C --data.num_folds 3 --data.fold 3": r"data.fold must be in \[0, 3\), got 3",
    "--config C --data.num_folds x": "data.init_args.num_folds: expected int or null, got x",
    "--config C --data.test_fraction 1": r"data.test_fraction must be in \[0, 1\), got 1",
    "--config C --data.num_classes 0": "num_classes 0|data.num_classes must be at least 1, got 0",
    "--config C --data.class_weights [a]": "data.init_args.class_weights: expected list",
    "--config C --data.collate 3": "data.init_args.collate: ",
    "--config C --data.train_transform x": "data.init_args.train_transform: ",
    "--config C --data.train_transform.0.pixels 0": "RandomShift: pixels must be at least 1, got 0",
    "--config C --data.train_transform.0 trainworks.datamodules.transforms.RandomShft": r"did you mean RandomShift\?",
    "--config C --data.train_transform+ trainworks.datamodules.transforms.RandomCrop": (
        "RandomCrop needs size; write a value"
    ),
    "--config C --data.eval_transform+ torch.optim.SGD": "data.init_args.eval_transform: ",
    "--config C --callbacks.last.every_n_stesp 3": r"takes no 'every_n_stesp' \(did you mean every_n_steps\?",
    "--config C --callbacks.finite.skip maybe": "callbacks.finite.init_args.skip: expected bool, got maybe",
    "--config C --callbacks.best.mode up": "`mode` can be min, max but got up",
    "--config C --callbacks [1]": "callbacks: expected dict",
    "--config C --callbacks.x torch.nn.ReLU": "callbacks: .*torch.nn.ReLU",
    "--config C --trainer.devices many": "`devices` selected with `CPUAccelerator` should be an int > 0",
    "--config C --trainer.max_epochs 0": "trainer.max_epochs is 0, so nothing would be trained; write at least 1",
    "--config C --trainer.max_steps 0": "trainer.max_steps is 0, so nothing would be trained",
    "fit --config C --trainer.limit_train_batches 0": "trainer.limit_train_batches is 0, so nothing would be trained",
    "--config C --data null": "num_classes refers to data.init_args.num_classes, which is not set; write a value",
    "--config C --seed_everything -1": r"seed_everything must be at least 0 and below 2\^32, got -1",
    "--config C --trainer.default_root_dir /dev/null/logs": r"/dev/null/logs/digits/\S+: Not a directory; choose",
    "--config C --trainer.default_root_dir /proc/logs": r"/proc/logs/digits/\S+: No such file or directory; choose",
    "--config C --experiment ..": "experiment must be a plain folder name, got '..'",
    "--config C --trainer.gradient_clip_val big": "trainer.gradient_clip_val: expected .* or null, got big",
    "--config C --trainer.limit_train_batches 1.5": "limit_train_batches",
    "--config C --trainer.val_check_interval x": "trainer.val_check_interval: expected int, float or null, got x",
    "--config C --trainer.max_time soon": "trainer.max_time: |soon",
    "--config C --trainer.strategy ddp_spawn": "trainer.strategy: a copied process cannot .*; write ddp",
    "--config C --trainer.strategy nope": "invalid strategy name: `strategy='nope'`",
    "--config C --trainer.log_every_n_steps x": "trainer.log_every_n_steps: expected int or null, got x",
    "--config C --trainer.fast_dev_run maybe": "trainer.fast_dev_run: expected int, bool, got maybe",
    "--config C --trainer.profiler nope": "profiler",
    "--config C --trainer.plugins nope": "trainer.plugins: expected ",
    "--config C --model.optimizer.class_path torch.optim.Adamm --model.scheduler null": r"did you mean Adam",
    "--config C --model.optimizer.momentum 0.9": "torch.optim.AdamW takes no 'momentum'; it takes lr, betas",
    "--config C --model.optimizer os.system --model.scheduler null": "model.init_args.optimizer: ",
    "--config C --model.net os.system": "model.init_args.net: os.system is not a Module; write the class_path of one",
    "--config C --model.loss os.getcwd": "model.init_args.loss: os.getcwd is not a Module",
    "--config C --model.scheduler_interval day": "scheduler_interval: expected 'step', 'epoch' or null, got day",
    "--config C --model.optimizer torch.optim.AdamV": r"there is no torch\.optim\.AdamV \(did you mean Adam",
    "--config C --model.train_metrics perhaps": "model.init_args.train_metrics: expected bool, got perhaps",
    "--config C --model.metrics accuracy": "model.init_args.metrics: expected dict",
    "--config C --model.metrics.loss torchmetrics.MeanMetric": "'loss' is logged already; choose another name",
    "--config C --resume nowhere": "--resume nowhere: no run there; write its directory, or one of its checkpoints",
    "--config C --batch 3": "a training takes no --batch; it belongs to replay",
    "repeat --config C": "repeat needs --num_folds N or --num_seeds N, or both",
    "repeat --config C --num_seeds 1": "--num_seeds must be a number of at least 2, got 1",
    "repeat --config C --num_seeds ²": "--num_seeds must be a number of at least 2, got ²",
    "validate --config C --resume auto": "validate takes no --resume; it belongs to fit, replay",
    "check --config C --data.root x": "DigitsDataModule takes no 'root'",
    "--config C --trainer.check_val_every_n_epoch 0": "trainer.check_val_every_n_epoch must be at least 1, got 0",
    "--config C --trainer.val_check_interval 0": "val_check_interval must be at least 1, or a share above 0, got 0",
    "--config C --trainer.epochs 3": r"trainer.epochs is not an option of Trainer \(did you mean max_epochs\?\)",
    "--config C --trainer.auto_lr_find true": "trainer.auto_lr_find is not an option of Trainer$",
    "--config C --model.weight_decay 1": r"takes no 'weight_decay' \(did you mean model.optimizer.weight_decay\?\)",
    "--config C --model.foo.bar 3": r"[\w.]+ClassifierModule takes no 'foo'; it takes net, loss, optimizer, ",
    "--config C --data.image_size 32": "DigitsDataModule takes no 'image_size'; it takes num_classes, ",
    "--config C --data.collate.length 3": "collate: no class stands here that takes {'length': 3}; write its class_",
    "--config C --data.collate trainworks.datamodules.transforms.PadSequences --data.collate.length 3": (
        r"data.init_args.collate.init_args.length: trainworks[\w.]+PadSequences takes no 'length' \(did you mean length"
    ),
    "--config C --trainer.strategy.init_args.z 3": "trainer.strategy: no class stands here that takes .*class_path",
    "--config C --trainer.logger.init_args.z 3": "logger.init_args.z: lightning.*TensorBoardLogger takes no 'z'",
    "--config C --callbacks.best.y 3": "callbacks.best.init_args.y: lightning.*ModelCheckpoint takes no",
    "--config C --callbacks.e EarlyStopping --callbacks.e.monito x": (
        r"callbacks.e.init_args.monito: lightning.pytorch.callbacks.EarlyStopping .*\(did you mean monitor\?\)"
    ),
    "--config C --model.metrics.accuracy.nope 3": (
        r"accuracy.init_args.nope: torchmetrics[\w.]+ takes no .*--model.metrics.accuracy.dict_kwargs.nope VALUE"
    ),
    "--config C --data.train_transform.1.size 3": r"train_transform.1.init_args.size: [\w.]+ToDtype takes no 'size'",
    "--config C --data.train_transform.0.pixels x": "train_transform.0.init_args.pixels: expected int, got x",
    "--config C --data.train_transform.0 RandomCrop": "train_transform: Multiple subclasses with name RandomCrop.",
    "--config C --model.optimizer Adam --model.optimizer.lr x": "optimizer.init_args.lr: expected float, Tensor, got x",
    "--config C --model.optimizer.params 3": r"AdamW gets its 'params' from model, which builds it; leave",
    "--config C --model.scheduler.optimizer 3": r"OneCycleLR gets its 'optimizer' from model, .*leave it out",
    "--config C --model.scheduler.foo 3": r"scheduler.init_args.foo: torch[\w.]+OneCycleLR takes no 'foo'; it takes",
    "--config C --data trainworks.datamodules.VisionDataModule --data.root X --data.train_dataset "
    "torchvision.datasets.MNIST --data.train_dataset.root Y": (
        r"train_dataset.init_args.root: torchvision.datasets.MNIST gets its 'root' from data, which builds "
        "it; write data.root"
    ),
    "--config C --data trainworks.datamodules.VisionDataModule --data.root X --data.train_dataset "
    "torchvision.datasets.MNIST --data.train_dataset.splt Y": "MNIST takes no 'splt'; it takes train, transform, ",
    "--config C --data.num_classes null --model.net.num_classes ${data.num_classes}": (
        r"refers to data.num_classes, which is not set; write \${data.init_args.num_classes}"
    ),
    "--config C --model.net.num_classes ${num_classes}": r"num_classes, .* write \${data.init_args.num_classes}",
    "--config C --model.net.num_classes ${model.net.in_channels}": (
        r"refers to model.net.in_channels, which is not set; write \${model.init_args.net.init_args.in_channels}"
    ),
    "--config C -x 3": "unexpected '-x'; options are written --key value",
    "test": "nothing to evaluate",
    "test --config C": "no run with a best checkpoint in logs/digits; train one first",
    "test --config C --run_name nope": "no run 'nope' in logs/digits",
    "predict --ckpt_path nope.ckpt": "--ckpt_path nope.ckpt: no such file",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_one_short_message(train: Train, tmp_path: Path, words: str) -> None:
    result = train(*[DIGITS if word == "C" else word for word in words.split()])
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) <= 15
    assert "Traceback" not in result.err
    assert re.search(MISTAKES[words], result.err), result.err
    assert not list(tmp_path.rglob("*"))


NETS = """
from torch import nn

class Untyped(nn.Module):
    def __init__(self, num_classes, hidden=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.Linear(hidden, num_classes))

    def forward(self, images):
        return self.layers(images)

class Configured(Untyped):
    def __init__(self, sizes: dict):
        super().__init__(**sizes)

class Lazy(Untyped):
    def __init__(self):
        super().__init__(10)
        self.layers[1] = nn.LazyLinear(3)

class Broken(nn.Module):
    def __init__(self):
        self.layers = nn.Flatten()
"""
OWN = {  # networks as people write them
    "--model.net bad.Net": r"net: bad.Net cannot be imported: SyntaxError: expected ':' \(bad.py, line 1\)",
    "--model.net nets.Untyped": "model.init_args.net: nets.Untyped needs num_classes; write a value for it",
    "--model.net nets.Lazy": "model.net.layers.1.weight has no shape before a batch comes; write the layer's sizes",
}


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of a user's in a folder of its own."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "bad.py").write_text("class Net(object)\n    pass\n")
    (folder / "nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "nets", raising=False)


@pytest.mark.parametrize("words", OWN)
def test_networks_that_cannot_be_built(train: Train, nets: None, words: str) -> None:
    result = train("--config", DIGITS, *words.split())
    assert result.code == 2 and re.search(OWN[words], result.err), result.err


@pytest.mark.parametrize(
    "words", ["nets.Untyped --model.net.num_classes 10", "nets.Configured --model.net.sizes.num_classes 10"]
)
def test_arguments_without_types(train: Train, nets: None, words: str) -> None:
    result = train("fit", "--config", DIGITS, *QUICK, "--model.net", *words.split())
    assert result.code == 0, result.err


def test_an_error_of_a_constructor_is_the_last_line(train: Train, nets: None) -> None:
    with pytest.raises(AttributeError, match="cannot assign module before") as raised:
        train("--config", DIGITS, "--model.net", "nets.Broken")
    assert raised.value.__cause__ is None and raised.value.__suppress_context__


LATE = {
    "--model trainworks.models.BaseModule": "model.net must be set, since BaseModule uses it; write a class_path",
    "--model.net null": "model.net must be set, since ClassifierModule uses it; write a class_path",
    "--model.net null --callbacks.channels_last null": "model.net must be set, since ClassifierModule uses it; write",
    "--model.loss null": "model.loss must be set, since ClassifierModule uses it; write a class_path",
    "--model.optimizer null --model.scheduler null": "model.optimizer must be set, since ClassifierModule uses it",
    "--data.num_classes 5": "data.num_classes is 5, but the labels go from 0 to 9; write 10",
    "--model.optimizer.lr -1": "Invalid learning rate: -1.0",
    "--callbacks.best.monitor val/acc": r"monitors 'val/acc', which .* does not log \(did you mean val/accuracy\?\)",
    "--trainer.num_sanity_val_steps 0 --callbacks.best.monitor val/acc": "monitors 'val/acc', which",
    "--trainer.limit_val_batches 0 --callbacks.best.monitor val/loss": "monitors 'val/loss', but there is no vali",
    "--data.val_fraction 0 --callbacks.best.init_args.monitor val/accuracy": r"no validation; .* \(data.val_fraction\)",
}


@pytest.mark.parametrize("words", LATE)
def test_found_in_setup_before_the_first_step(train: Train, tmp_path: Path, words: str) -> None:
    result = train("--config", DIGITS, "--run_name", "a", *words.split())
    assert result.code == 2
    assert len(result.err.splitlines()) <= 15
    assert "Traceback" not in result.err
    assert re.search(LATE[words], result.err), result.err
    assert not (tmp_path / "logs/digits/a").exists()


def test_a_mistake_in_a_real_process(train_process: Train) -> None:
    result = train_process("--config", DIGITS, "--trainer.max_epohs", "3")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: trainer.max_epohs is not an option of Trainer (did you mean max_epochs?)\n"
