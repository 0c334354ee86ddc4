"""Fixtures that every room uses."""

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline asserts a time; on a busy machine any test misses it.
settings.register_profile("boxline", deadline=None)
settings.load_profile("boxline")

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
