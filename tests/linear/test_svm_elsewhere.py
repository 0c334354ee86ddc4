"""SVMs that workers train: the bytes of one process, whoever dies; keys travel, features do not."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.core.cluster import cluster, local, processes
from pipeline.core.errors import InputError
from pipeline.core.sections import Svm
from pipeline.linear import svm as module
from pipeline.linear.choice import with_chosen_c
from pipeline.linear.model import LinearModel
from pipeline.linear.svm import Elsewhere, SvmReport, train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.systems.rcnn.training_set import stored_training_set
from tests.core.dying import Dying

CLASSES, SPLITS, WIDTH = ("ant", "bee", "cat"), ("train", "val"), 300
BOX, FAR = (0.0, 0.0, 10.0, 10.0), (500.0, 500.0, 510.0, 510.0)
# Several trainings a class, and a tolerance that lets the order of the samples show.
SETTINGS = Svm(C=0.01, tolerance=0.1, max_iterations=10_000, retrain_after=80, passes=2)


@pytest.fixture
def project(training_set: Callable, tmp_path: Path) -> Path:
    """Return a folder with caches and indices of two splits, where R-CNN has them."""
    rng, images = np.random.default_rng(0), []
    for number in range(18):
        labels = [number % 3, *([(number + 1) % 3] if number % 4 else [])]
        objects = [(label + 1, BOX) for label in labels]
        features = rng.normal(size=(30, WIDTH)) + 0.3 * np.eye(WIDTH)[labels[0]]
        images.append((objects, [BOX] * len(objects) + [FAR] * (30 - len(objects)), features))
    made, root = training_set(CLASSES, *images, splits=(12, 6)), tmp_path / "project"
    for split, cache, index in zip(SPLITS, made.caches, made.indices, strict=True):
        target = root / f"features/rcnn/{split}.zarr"
        target.parent.mkdir(parents=True, exist_ok=True)
        cache.path.rename(target)
        index.save(root / f"data/index/{split}.json")
    return root


def load(root: Path) -> partial[TrainingSet]:
    return partial(stored_training_set, root, True, root.as_posix())


def train(root: Path, executor: Executor | None = None, kept: Path | None = None) -> tuple[LinearModel, SvmReport]:
    there = Elsewhere(executor, load(root), SPLITS, whole=False) if executor else None
    return train_svms(load(root)(SPLITS), SETTINGS, seed=3, workers=1, elsewhere=there, kept=kept)


def content(model: LinearModel, folder: Path) -> bytes:
    model.save(folder / "svm.safetensors")
    return (folder / "svm.safetensors").read_bytes()


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    with local(2) as started:
        yield started


@pytest.fixture
def pool(dask: Any, project: Path) -> Iterator[Executor]:
    """Yield an executor of two Dask workers, as a stage gets it."""
    dask.wait_for_workers(2, timeout=60)
    with cluster(dask.scheduler_address.replace("tcp", "dask"), 0, [project]) as executor:
        assert executor is not None
        yield executor


group = pytest.mark.xdist_group("dask")  # one process of pytest starts the workers


@group
@pytest.mark.slow
def test_processes_and_dask_train_the_same_bytes_though_workers_die(project, pool, tmp_path) -> None:
    model, report = train(project)
    expected, count = content(model, tmp_path), sum(report.trainings)
    assert count >= 3 * len(CLASSES)
    with processes(2) as executor:
        assert content(train(project, executor)[0], tmp_path) == expected
    dying = Dying(pool, tmp_path / "log", {0: "before", count // 2: "after", count - 1: "before"})
    model, elsewhere = train(project, dying)
    assert content(model, tmp_path) == expected
    assert elsewhere == report
    assert len(dying.calls()) == count
    assert all(dying.calls()[number] > 1 for number in (0, count // 2, count - 1))


@group
@pytest.mark.slow
def test_the_choice_of_c_is_the_same(project, pool) -> None:
    settings = SETTINGS.model_copy(update={"C": "auto", "C_values": (1e-6, 0.01)})
    regions, there = load(project)(SPLITS), Elsewhere(pool, load(project), SPLITS, whole=False)
    chosen = partial(with_chosen_c, regions, SPLITS, settings, "rcnn.svm.C", seed=3, workers=1)
    assert chosen(elsewhere=there) == chosen()


DRIVER = """
import sys
from pathlib import Path
from pipeline.core.cluster import processes
from tests.core.dying import Dying
from tests.linear.test_svm_elsewhere import train

if __name__ == "__main__":
    root, folder, hanging = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with processes(2) as pool:
        train(root, Dying(pool, folder / "log", {hanging: "hang"}), folder / "kept")
"""


@group
@pytest.mark.slow
def test_a_killed_driver_goes_on_in_another_pool_with_what_is_missing(project, pool, tmp_path) -> None:
    model, report = train(project)
    expected, count = content(model, tmp_path), sum(report.trainings)
    script, first = tmp_path / "driver.py", tmp_path / "first"
    script.write_text(DRIVER)
    first.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(project), str(first), str(count // 2)]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (first / f"log/{count // 2}").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finished = len(list((first / "kept").glob("*.npz")))
    assert 0 < finished < count
    counting = Dying(pool, tmp_path / "log", {})
    assert content(train(project, counting, first / "kept")[0], tmp_path) == expected
    assert counting.calls() == [1] * (count - finished)


class Here(Executor):
    """Runs a task at once, and notes how many bytes it would have been sent as, and what arrays it holds."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.held = 0

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        (miner,) = args
        self.sizes.append((len(pickle.dumps((function, args))), len(miner.negatives.keys)))
        self.held += miner.positives.nbytes + miner.negatives.features.nbytes
        future: Future[Any] = Future()
        future.set_result(function(*args))
        return future


@pytest.mark.parametrize("whole", [False, True])
def test_keys_travel_and_features_do_not(project, tmp_path, whole) -> None:
    here = Here()
    there = Elsewhere(here, load(project), SPLITS, whole=whole)
    model, _ = train_svms(load(project)(SPLITS), SETTINGS, seed=3, workers=1, elsewhere=there)
    assert content(model, tmp_path) == content(train(project)[0], tmp_path)
    assert here.held == 0
    # A key is three numbers of 8 bytes; the current weights travel too.
    assert all(size < 24 * keys + 4 * WIDTH + 4000 for size, keys in here.sizes)
    assert max(keys for _, keys in here.sizes) * 4 * WIDTH > 10 * max(size for size, _ in here.sizes)


def test_finished_trainings_are_taken_over(project, tmp_path, monkeypatch) -> None:
    model, report = train(project, kept=tmp_path / "kept")
    files = sorted((tmp_path / "kept").iterdir())
    assert len(files) == sum(report.trainings)
    files[1].unlink()
    made, fit = [], module._fit
    monkeypatch.setattr(module, "_fit", lambda *args: made.append(fit(*args)) or made[-1])
    again, same = train(project, kept=tmp_path / "kept")
    assert (content(again, tmp_path), same) == (content(model, tmp_path), report)
    assert len(made) == 1


def test_features_that_are_no_numbers_are_named_by_a_worker(project) -> None:
    regions = load(project)(SPLITS)
    array = zarr.open_group(project / "features/rcnn/val.zarr", mode="r+")["features/fc7"]
    array[0] = np.nan  # the first object of image 13, which the pass meets last
    there = Elsewhere(Here(), load(project), SPLITS, whole=False)
    with pytest.raises(InputError, match=r"val\.zarr: features of layer fc7 of image 13 are not finite numbers"):
        train_svms(regions, SETTINGS.model_copy(update={"feature_norm": 1.0}), seed=3, workers=1, elsewhere=there)


def test_a_worker_with_another_solver_is_refused(project, monkeypatch) -> None:
    monkeypatch.setattr(module, "_solver", chain(["1.0"], repeat("2.0")).__next__)
    with pytest.raises(InputError, match=r"a worker has scikit-learn 2\.0, this machine 1\.0; the same would be right"):
        train(project, Here())
