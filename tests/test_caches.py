"""Which caches nobody needs: on an object store by what Git and the workspace name, in the scratch folder by time."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.features.cache import CacheWriter, Column
from pipeline.features.objects import ObjectPrefix, connect

ROOT = Path(__file__).resolve().parents[1]
KEPT, EXPERIMENT, WORKSPACE, OLD, HALF, RESUMED = (digit * 16 for digit in "abcdef")


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write(place: ObjectPrefix, shards: int = 2) -> Path | None:
    """Write a cache of two shards, or one of them; return the pointer to a finished one."""
    place.scratch.mkdir(parents=True, exist_ok=True)
    tables = {"offsets": np.array([0, 4]), "image_ids": np.array([1])}
    with CacheWriter(place, [Column("fc7", 1 << 18, "float16")], 4, 1, tables, {}) as writer:
        for start, stop in writer.pending()[:shards]:
            writer.write(start, {"fc7": np.full((stop - start, 1 << 18), int(place.url[-1], 16), np.float16)})
    return writer.finish() if shards == 2 else None


def lock(pointer: Path) -> None:
    """Write a lock as DVC does for a stage with this output."""
    Path("systems/rcnn").mkdir(parents=True, exist_ok=True)
    md5 = hashlib.md5(pointer.read_bytes()).hexdigest()
    entry = f"    - path: features/rcnn/test.zarr\n      hash: md5\n      md5: {md5}\n      size: 1\n"
    Path("systems/rcnn/dvc.lock").write_text(f"stages:\n  features@test:\n    outs:\n{entry}")


@pytest.fixture
def project(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return ``boxline cache`` as a function, run where four finished caches and two unfinished ones have been made.

    A branch has the first, an experiment the second, the workspace the third; a stage resumes the last.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    url = f"s3://boxes/{tmp_path.name}"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("    url:\n", f"    url: {url}\n").replace("    endpoint:\n", f"    endpoint: {server}\n")
    Path("params.yaml").write_text(text, encoding="utf-8")
    pointers = {
        name: write(ObjectPrefix(f"{url}/{name}", server, tmp_path / name))
        for name in (KEPT, EXPERIMENT, WORKSPACE, OLD)
    }
    git("init", "--quiet", "--initial-branch", "main")
    for name in (EXPERIMENT, KEPT):
        lock(pointers[name])
        git("add", ".")
        git("commit", "--quiet", "--message", name)
        if name == EXPERIMENT:
            git("update-ref", "refs/exps/01/2345/wide", "HEAD")
            git("checkout", "--quiet", "--orphan", "other")
            git("branch", "--quiet", "-D", "main")
    Path("features/rcnn").mkdir(parents=True)
    Path("features/rcnn/test.zarr").write_bytes(pointers[WORKSPACE].read_bytes())
    write(ObjectPrefix(f"{url}/{HALF}", server, tmp_path / HALF), shards=1)
    write(ObjectPrefix(f"{url}/{RESUMED}", server, Path(".scratch/rcnn_features_val/0123")), shards=1)
    connect(url, server).put("notes.txt", b"not of this program")
    return lambda *arguments: CliRunner().invoke(app, ["cache", *arguments])


def users(output: str) -> dict[str, str]:
    return dict(re.findall(r"([0-9a-f]{16})  (.*)", output))


def test_the_list_says_who_refers_to_each(project) -> None:
    result = project("list")
    assert result.exit_code == 0, result.output
    assert users(result.stdout) == {
        KEPT: "HEAD, other, workspace",
        EXPERIMENT: "wide",
        WORKSPACE: "workspace",
        OLD: "nothing refers to it",
        HALF: "nothing refers to it",
        RESUMED: "unfinished rcnn_features_val",
    }
    assert result.stdout.count("unfinished s3://") == 2
    assert result.stdout.splitlines()[-1].endswith("in 7 caches"), "one of them the scratch folder of the last"


def test_prune_removes_what_nothing_refers_to_and_nothing_else(project, server: str, tmp_path: Path) -> None:
    bucket = connect(f"s3://boxes/{tmp_path.name}", server)
    before = bucket.list().keys()
    for refused in (project("prune"), project("prune", "--hours", "0", "--dry-run"), project("prune", "--hours", "0")):
        assert "removed" not in refused.stdout
        assert bucket.list().keys() == before
    result = project("prune", "--hours", "0", "--yes")
    assert result.exit_code == 0, result.output
    assert bucket.list().keys() == {key for key in before if key[:16] not in (OLD, HALF)}
    assert result.stdout.count("removed") == 2
    assert project("prune", "--hours", "0", "--yes").stdout.split() == ["0.0", "MB", "in", "0", "caches"]


def test_without_git_nothing_is_pruned(project, server: str, tmp_path: Path) -> None:
    (tmp_path / "project/.git").rename(tmp_path / "git")
    result = project("prune", "--hours", "0", "--yes")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: this folder is in no Git repository that can be read")
    assert f"{OLD}/manifest.json" in connect(f"s3://boxes/{tmp_path.name}", server).list()


def test_of_a_stages_scratch_folders_the_youngest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for stage, name, age in (("a", "1" * 16, 3), ("a", "2" * 16, 2), ("b", "3" * 16, 4), ("b", "4" * 16, 3)):
        folder = Path(".scratch", stage, name)
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(bytes(1000))
        for path in (folder / "part", folder):
            os.utime(path, (path.stat().st_mtime - 86400 * age,) * 2)
    run = CliRunner().invoke
    lock = Path(".scratch/b/lock")
    code = "import fcntl, sys; s = open(sys.argv[1], 'a'); fcntl.lockf(s, fcntl.LOCK_EX); print(1, flush=True)"
    holder = [sys.executable, "-c", f"{code}; input()", lock]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "1\n"
        listed = users(run(app, ["cache", "list"]).stdout)
        assert list(listed.values()) == ["nothing refers to it", "resumes from it", "running", "running"]
        assert run(app, ["cache", "prune", "--yes"]).exit_code == 0
        running.communicate("\n")
    left = {folder.name[0] for folder in Path(".scratch").glob("*/*") if folder.is_dir()}
    assert left == {"2", "3", "4"}
    run(app, ["cache", "prune", "--yes"])
    assert {folder.name[0] for folder in Path(".scratch").glob("*/*") if folder.is_dir()} == {"2", "4"}
