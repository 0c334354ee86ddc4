"""Caches on an object store are looked into as folders are."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from tests.object_store import upload


@pytest.fixture
def pointing(project: Path, tmp_path: Path, prefix: Callable) -> Path:
    """Return the project with pointers in place of its caches."""
    copy = shutil.copytree(project, tmp_path / "project")
    for cache in sorted((copy / "features").glob("*/*.zarr")):
        pointer = upload(cache, prefix(f"{cache.parent.name}_{cache.stem}"))
        shutil.rmtree(cache)
        pointer.rename(cache)
    return copy


@pytest.mark.parametrize(
    "arguments",
    [
        ["summary"],
        ["neighbours", "1:1"],
        ["image", "1"],
        ["image", "1", "--system", "sppnet"],
        ["units", "--units", "3"],
        ["diff", "rcnn:fc7", "features/rcnn/other.zarr:fc7"],
        ["embedding"],
    ],
    ids=" ".join,
)
def test_a_pointer_shows_what_the_folder_shows(
    project: Path, pointing: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for folder in (project, pointing):
        monkeypatch.chdir(folder)
        result = CliRunner().invoke(app, ["inspect", *arguments])
        assert result.exit_code == 0, result.output
        shown.append(result.stdout)
    assert shown[0] == shown[1]
    assert len(shown[0].splitlines()) > 2
