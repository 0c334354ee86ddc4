"""Killed stages go on where they stopped, and end in the bytes of an undisturbed run; workers change no byte."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.features.objects import Pointer, connect

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]  # one worker makes the project

SHARDS = ("rcnn.features.layers=[conv5, pool5]", "rcnn.features.dtype=float32", "rcnn.features.shard_mb=1")
STEPS = ("rcnn.finetune.schedule.steps=24", "rcnn.finetune.schedule.decay_at=[20]")


def digests(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def kill_when(project, arguments: tuple[str, ...], reached: Callable[[], object]) -> None:
    """Start a stage and kill it and all its children, at once and without warning, when ``reached`` says so."""
    process = project.start(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not reached():
            assert process.poll() is None, "the stage ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_features_killed_between_shards_keep_the_finished_ones(copy) -> None:
    whole, killed = copy("whole"), copy("killed")
    for project, workers in ((whole, 1), (killed, 2)):
        project.set("tiny", *SHARDS, f"runtime.workers={workers}")
    whole.run("stages.rcnn.features", "train")

    def done() -> list[Path]:
        return list(killed.folder.glob(".scratch/rcnn_features_train/*/done/*"))

    kill_when(killed, ("stages.rcnn.features", "train"), done)
    finished = [int(mark.name) for mark in done()]
    assert not (killed.folder / "features").exists()
    (unfinished,) = killed.folder.glob(".scratch/rcnn_features_train/*/cache.zarr")
    reference = whole.folder / "features/rcnn/train.zarr"
    # Shards are stretches of equal length, the first from row 0.
    shards = sorted(reference.glob("features/conv5/c/*/0"), key=lambda file: int(file.parent.name))
    assert 1 <= len(finished) < len(shards)
    kept = {}
    for number in range(len(finished)):
        for layer in ("conv5", "pool5"):
            name = f"features/{layer}/c/{number}/0"
            state = (unfinished / name).stat()
            kept[name] = (state.st_ino, state.st_mtime_ns)

    killed.run("stages.rcnn.features", "train")
    result = killed.folder / "features/rcnn/train.zarr"
    for name, (inode, written) in kept.items():
        state = (result / name).stat()
        assert (state.st_ino, state.st_mtime_ns) == (inode, written), f"{name} was written again"
    assert digests(result) == digests(reference)
    assert not (killed.folder / ".scratch/rcnn_features_train").exists()


def test_features_on_an_object_store_resume_there_and_train_the_same_svms(copy, server, tmp_path) -> None:
    url = f"s3://boxes/{tmp_path.name}"
    local, remote = copy("local"), copy("remote")
    local.set("tiny", *SHARDS, "rcnn.svm.layer=pool5")
    remote.set("tiny", *SHARDS, "rcnn.svm.layer=pool5", f"runtime.store.url={url}", f"runtime.store.endpoint={server}")

    def done() -> list[str]:
        return [key for key in connect(url, server).list() if re.search(r"/done/\d+$", key)]

    kill_when(remote, ("stages.rcnn.features", "train"), done)
    finished = {key: entry.written for key, entry in connect(url, server).list().items()}
    assert not any(key.endswith("manifest.json") for key in finished)
    for project in (local, remote):
        for stage in ("features train", "features val", "svm"):
            project.run(*f"stages.rcnn.{stage}".split())
    marked = [key for key in finished if re.search(r"/done/\d+$", key)]
    there = connect(url, server).list()
    assert all(there[key].written == finished[key] for key in marked)
    for split in ("train", "val"):
        pointer = remote.folder / f"features/rcnn/{split}.zarr"
        place = Pointer.load(pointer).url
        objects = connect(f"{place}/cache.zarr", server)
        hashes = {key: hashlib.sha256(objects.get(key) or b"").hexdigest() for key in objects.list()}
        assert hashes == digests(local.folder / f"features/rcnn/{split}.zarr")
    made = "models/rcnn/svm.safetensors"
    assert digests(remote.folder / made) == digests(local.folder / made)
    assert not (remote.folder / ".scratch/rcnn_features_train").exists()


def test_maps_on_an_object_store_train_the_same_network(copy, tiny, server, tmp_path) -> None:
    project = copy("remote")
    url = f"s3://boxes/{tmp_path.name}"
    project.set("tiny", "runtime.workers=2", f"runtime.store.url={url}", f"runtime.store.endpoint={server}")
    trained = ("models/sppnet/network.safetensors", "models/sppnet/svm.safetensors")
    for made in trained:
        (project.folder / made).unlink()
    for stage in ("maps train", "maps val", "finetune", "svm"):
        project.run(*f"stages.sppnet.{stage}".split())
    assert (project.folder / "features/sppnet/train.zarr").stat().st_size < 400
    for made in trained:
        assert digests(project.folder / made) == digests(tiny.folder / made)


def test_fine_tuning_killed_after_a_checkpoint_goes_on_from_it(copy) -> None:
    whole, killed = copy("whole"), copy("killed")
    for project in (whole, killed):
        project.set("tiny", *STEPS)
        (project.folder / "models/rcnn/network.safetensors").unlink()
    assert bar_ends(whole.run("stages.rcnn.finetune")) == ("0/24", "24/24")

    def checkpoint() -> list[Path]:
        return list(killed.folder.glob(".scratch/rcnn_finetune/*/last.ckpt"))

    kill_when(killed, ("stages.rcnn.finetune",), checkpoint)
    assert not (killed.folder / "models/rcnn/network.safetensors").exists()
    first, last = bar_ends(killed.run("stages.rcnn.finetune"))
    assert int(first.partition("/")[0]) in range(4, 24, 4)
    assert last == "24/24"
    for made in ("models/rcnn/network.safetensors", "reports/stages/rcnn/finetune/curves"):
        assert digests(killed.folder / made) == digests(whole.folder / made)


def bar_ends(output: str) -> tuple[str, str]:
    """Return where the bar stood at the start and at the end."""
    places = re.findall(r"\d+/24", output)
    return places[0], places[-1]


def test_one_and_two_workers_write_the_same_bytes(tiny, copy) -> None:
    one = copy("one")
    one.set("tiny", "runtime.workers=1")
    one.run("stages.rcnn.features", "test")
    made = "features/rcnn/test.zarr"
    assert digests(one.folder / made) == digests(tiny.folder / made)
    (one.folder / "proposals/test.h5").unlink()
    one.run("stages.proposals", "test")
    assert digests(one.folder / "proposals/test.h5") == digests(tiny.folder / "proposals/test.h5")


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
def test_workers_of_a_cluster_train_the_same_svms(tiny, copy, system) -> None:
    project = copy("dask")
    project.set("tiny", "runtime.workers=2", "runtime.cluster=dask")
    shutil.copytree(tiny.folder / f"features/{system}", project.folder / f"features/{system}")
    made = f"models/{system}/svm.safetensors"
    (project.folder / made).unlink()
    project.run(f"stages.{system}.svm")
    assert digests(project.folder / made) == digests(tiny.folder / made)


def test_a_second_driver_leaves_the_scratch_folder_to_the_first(tiny, copy) -> None:
    project = copy("both")
    arguments, marks = ("stages.rcnn.features", "train"), ".scratch/rcnn_features_train/*/done/*"
    first = project.start(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not list(project.folder.glob(marks)):
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(first.pid, signal.SIGSTOP)
        finished = len(list(project.folder.glob(marks)))
        second = project.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, errors = second.communicate(timeout=300)
        assert second.returncode == 1
        assert errors.splitlines()[-1].endswith(
            ".scratch/rcnn_features_train/lock: another process runs this stage here; once it has ended, the same "
            "command goes on from what it finished."
        )
        assert len(list(project.folder.glob(marks))) == finished
        os.killpg(first.pid, signal.SIGCONT)
        assert first.wait(300) == 0
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    made = "features/rcnn/train.zarr"
    assert digests(project.folder / made) == digests(tiny.folder / made)
