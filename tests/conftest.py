"""Fixtures that every room uses."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline asserts a time; on a busy machine any test misses it.
settings.register_profile("boxline", deadline=None)
settings.load_profile("boxline")

pytest_plugins = ["tests.object_store"]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with real data and weights; skip the test where it is absent."""
    folder = (ROOT / os.environ.get("BOXLINE_SHARED", "../shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no folder with real data at {folder}; set BOXLINE_SHARED")
    return folder


@pytest.fixture
def run_stage() -> Callable[..., None]:
    """Return a function that runs a stage, such as ``evaluate rcnn``, of the project's graph, in this folder."""
    from pipeline.stage import Stage

    def run(script: str, *args: str) -> None:
        for graph in (ROOT / "dvc.yaml", *ROOT.glob("systems/*/dvc.yaml")):
            target = Path(graph.relative_to(ROOT))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(graph, target)
        module = f"stages.{script}"
        import_module(module).main(Stage.of(module, list(args)))

    return run


# Calls a function of a test file with a folder, in a process that kills itself in place of a rename, or after a time.
_KILLED = """
import os, runpy, signal, sys, threading
from pathlib import Path

file, function, folder, number, seconds = sys.argv[1:]
called = runpy.run_path(file)[function]
rename, renames = Path.replace, []

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def replace(self, target):
    renames.append(target)
    if len(renames) == int(number):
        kill()
    return rename(self, target)

Path.replace = replace
if float(seconds):
    timer = threading.Timer(float(seconds), kill)
    timer.daemon = True
    timer.start()
called(Path(folder))
"""


@pytest.fixture
def killed() -> Callable[..., bool]:
    """Return a function that calls ``function(folder)`` of a test ``file`` and says whether it was killed.

    A process of its own calls it, and kills itself without warning in place of its rename number ``at_rename``, when a
    file is written whole but not in its place, or ``after`` so many seconds.
    """

    def run(file: str, function: str, folder: Path, *, at_rename: int = 0, after: float = 0) -> bool:
        command = [sys.executable, "-c", _KILLED, file, function, str(folder), str(at_rename), str(after)]
        code = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode
        assert code in (0, -signal.SIGKILL)
        return code != 0

    return run
