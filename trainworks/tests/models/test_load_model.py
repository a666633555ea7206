import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainworks.models import load_model
from trainworks.tests.conftest import DIGITS, QUICK, ROOT, Train


@pytest.mark.long
def test_a_fresh_process_rebuilds_the_module_from_its_checkpoint_alone(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "a", "--model.net.layers", "[8]").code == 0
    path = tmp_path / "logs/digits/a/checkpoints/best.ckpt"
    (tmp_path / "moved.ckpt").write_bytes(path.read_bytes())
    code = (
        "import torch; from trainworks.models import load_model; "
        f"module = load_model({str(tmp_path / 'moved.ckpt')!r}); "
        "assert not module.training; "
        f"torch.save(module(torch.ones(2, 1, 8, 8)), {str(tmp_path / 'logits.pt')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    module = load_model(path)
    assert type(module).__name__ == "ClassifierModule"
    assert torch.equal(torch.load(tmp_path / "logits.pt", weights_only=True), module(torch.ones(2, 1, 8, 8)))
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[key]) for key, value in module.state_dict().items())


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(ValueError, match="does not say how its module was built"):
        load_model(tmp_path / "foreign.ckpt")
