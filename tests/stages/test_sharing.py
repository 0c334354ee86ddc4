"""What one person ran reaches another, another time and another experiment: nothing is computed again."""

import re
import shutil
import subprocess
import time
from pathlib import Path
from subprocess import DEVNULL

import pytest

from pipeline.features.cache import FeatureCache
from pipeline.features.objects import Pointer
from tests.stages.conftest import Project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def commit(project: Project, message: str) -> None:
    git(project.folder, "add", ".")
    git(project.folder, "commit", "--quiet", "--message", message)


@pytest.fixture
def one(tiny: Project, tmp_path: Path) -> Project:
    """Return the finished project with its DVC cache; the run is committed."""
    project = Project(tmp_path / "one")
    shutil.copytree(tiny.folder, project.folder, symlinks=True)
    commit(project, "A run")
    return project


def test_a_clone_pulls_what_was_pushed_and_has_nothing_to_run(one: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other")
    one.run("dvc", "remote", "add", "--quiet", "--default", "shared", str(tmp_path / "shared"))
    commit(one, "Where results are shared")
    one.run("dvc", "push", "--quiet")
    git(tmp_path, "clone", "--quiet", str(one.folder), str(other.folder))
    other.run("dvc", "pull", "--quiet")
    for made in ("detections", "models", "features", "reports/summary"):
        files = [file for file in (one.folder / made).rglob("*") if file.is_file()]
        assert files
        for file in files:
            assert (other.folder / file.relative_to(one.folder)).read_bytes() == file.read_bytes()
    assert "up to date" in other.run("dvc", "status")
    said = other.run("dvc", "repro")
    assert "Data and pipelines are up to date." in said
    assert "Running stage" not in said


def test_pointers_are_checked_out_and_compared(one: Project, server: str, tmp_path: Path) -> None:
    """Two runs whose caches lie on an object store: each commit's pointer comes back and opens its own objects."""
    url, stage = f"s3://boxes/{tmp_path.name}", "systems/rcnn/dvc.yaml:features@train"
    made, written = one.folder / "features/rcnn/train.zarr", []
    for dtype in ("float16", "float32"):
        one.set("tiny", f"rcnn.features.dtype={dtype}", f"runtime.store.url={url}", f"runtime.store.endpoint={server}")
        one.run("dvc", "repro", "--quiet", "--force", "--single-item", stage)
        commit(one, dtype)
        written.append(made.read_bytes())
        assert FeatureCache(made, stage).image(0, "fc7").dtype == dtype
    assert written[0] != written[1]
    text = one.run("pipeline.cli", "compare", "HEAD~1", "HEAD", "--baseline", "HEAD~1")
    assert "rcnn.features.dtype: float16 -> float32" in text

    made.unlink()
    git(one.folder, "checkout", "--quiet", "HEAD~1")
    one.run("dvc", "checkout", "--quiet", "--force", "features/rcnn/train.zarr")
    assert made.read_bytes() == written[0]
    assert FeatureCache(made, stage).image(0, "fc7").dtype == "float16"
    assert Pointer.load(made).url.startswith(url)


@pytest.mark.long
def test_two_queue_workers_run_two_experiments(one: Project) -> None:
    values = {"small": "0.01", "large": "0.1"}
    for name, C in values.items():
        one.run("dvc", "exp", "run", "--queue", "--name", name, "--set-param", f"rcnn.svm.C={C}")
    try:
        # Without pipes: the workers, which go on in the background, would hold them.
        assert one.start("dvc", "queue", "start", "--jobs", "2", stdout=DEVNULL, stderr=DEVNULL).wait(120) == 0
        deadline, status = time.monotonic() + 900, ""
        while status.count("Success") < 2:
            assert time.monotonic() < deadline, status
            time.sleep(5)
            status = one.run("dvc", "queue", "status")
            assert "Failed" not in status
    finally:
        one.run("dvc", "queue", "stop", "--kill")
    text = one.run("pipeline.cli", "compare", "HEAD", *values)
    models = set()
    for name, C in values.items():
        assert re.search(rf"{name} .*rcnn\.svm\.C: 0\.001 -> {C}\b", text), text
        reference = git(one.folder, "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}").strip()
        lock = git(one.folder, "show", f"{reference}:systems/rcnn/dvc.lock")
        models.add(re.search(r"path: models/rcnn/svm\.safetensors\n.*\n\s+md5: (\w+)", lock)[1])
    assert len(models) == 2
