import io
import sys
from pathlib import Path

import pytest

from trainworks.cli.console import Tee, captured, copied_to


def test_a_progress_bar_leaves_only_its_last_state(tmp_path: Path) -> None:
    shown, path = io.StringIO(), tmp_path / "train.log"
    tee = Tee(shown)
    tee.write("before\n")
    with path.open("w") as log:
        tee.open(log)
        for text in ("\r 10%", "\r 20%", "\r     \r", "\x1b[1mdone\x1b[0m\n", "no newline"):
            tee.write(text)
        tee.close_log()
    assert path.read_text() == "before\ndone\nno newline\n"
    assert "10%" in shown.getvalue()


def test_a_tee_passes_for_its_stream() -> None:
    shown = io.StringIO()
    assert Tee(shown).isatty() is False
    assert Tee(shown).getvalue() == ""


def test_both_streams_reach_the_file_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.log"
    streams = sys.stdout, sys.stderr
    with captured() as tees:
        print("early")
        with copied_to(path, tees):
            print("out")
            print("err", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == streams
    assert path.read_text() == "early\nout\nerr\n"
    assert capsys.readouterr() == ("early\nout\n", "err\n")
