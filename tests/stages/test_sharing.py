"""What one person ran reaches another through a remote: nothing is computed again."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.stages.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def test_a_clone_pulls_what_was_pushed_and_has_nothing_to_run(tiny: Project, tmp_path: Path) -> None:
    one, other = Project(tmp_path / "one"), Project(tmp_path / "other")
    shutil.copytree(tiny.folder, one.folder, symlinks=True)
    one.run("dvc", "remote", "add", "--quiet", "--default", "shared", str(tmp_path / "shared"))
    git(one.folder, "add", ".")
    git(one.folder, "commit", "--quiet", "--message", "A run")
    one.run("dvc", "push", "--quiet")
    git(tmp_path, "clone", "--quiet", str(one.folder), str(other.folder))
    other.run("dvc", "pull", "--quiet")
    for made in ("detections", "models", "features", "reports/summary"):
        files = [file for file in (one.folder / made).rglob("*") if file.is_file()]
        assert files
        for file in files:
            assert (other.folder / file.relative_to(one.folder)).read_bytes() == file.read_bytes()
    assert "up to date" in other.run("dvc", "status")
