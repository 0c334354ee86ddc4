"""The measurements start: a script that nobody runs for a while must not rot."""

import subprocess
import sys
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent.parent / "benchmarks").glob("[a-z]*.py"))
SCRIPTS = [path.stem for path in FILES if "__main__" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_explains_itself(name: str, pytestconfig: pytest.Config) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
