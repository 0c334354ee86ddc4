"""The measurements start: a script that nobody runs for a while must not rot."""

import runpy
import sys
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent.parent / "benchmarks").glob("[a-z]*.py"))
SCRIPTS = [path.stem for path in FILES if "__main__" in path.read_text(encoding="utf-8")]


# In this process: each of its own would import torch once more.
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_explains_itself(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out
