"""Who computes shards changes no byte: this process, two processes, Dask, and workers that die or come back."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from distributed import LocalCluster, Scheduler, SpecCluster
from PIL import Image

from pipeline.core import cluster as module
from pipeline.core.cluster import Conditions, cluster, completed, local, processes
from pipeline.core.errors import InputError
from pipeline.core.sections import Proposals, Region
from pipeline.data.index import ImageRecord, Index
from pipeline.features import cache as cache_module
from pipeline.features.cache import write_shard
from pipeline.features.maps import cache_maps, entries, stored_conv
from pipeline.features.objects import Pointer, connect
from pipeline.features.places import Place
from pipeline.features.regions import gather
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.nets.weights import Backbone
from pipeline.proposals import extract as extract_module
from pipeline.proposals.extract import extract
from pipeline.systems.rcnn.features import cache_regions, stored_network
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from tests.core.dying import Dying

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dask")]  # one process of pytest starts the workers

CPU = torch.device("cpu")
IMAGES = 6


def tree(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


class Project:
    """Six images, a region network and a backbone on disk; makes proposals, features and maps of six shards or more."""

    def __init__(self, root: Path) -> None:
        self.root, rng = root, np.random.default_rng(0)
        self.files = [root / f"{number}.png" for number in range(IMAGES)]
        self.boxes = []
        for file in self.files:
            pixels = np.kron(rng.integers(0, 255, (5, 6, 3)), np.ones((10, 10, 1))).astype(np.uint8)
            Image.fromarray(pixels).save(file)
            corners = rng.uniform(0, 40, (12, 2))
            self.boxes.append(np.concatenate([corners, corners + rng.uniform(1, 20, (12, 2))], 1).astype(np.float32))
        self.index = Index(("thing",), tuple(ImageRecord(n + 1, f"{n}.png", 60, 50, "") for n in range(IMAGES)))
        torch.manual_seed(0)
        self.network, self.backbone = root / "network.safetensors", root / "backbone.safetensors"
        RegionNetwork(RegionShape("small", side=32, fc_width=16, outputs=3)).save(self.network)
        conv = architecture("small").conv().state_dict()
        Backbone({f"features.{name}": value for name, value in conv.items()}, network="small").save(self.backbone)

    def proposals(self, folder: Path, executor: Executor | None) -> Path:
        extract(self.index, self.root, Proposals(), 1, folder, executor).save(folder / "proposals.h5")
        return folder / "proposals.h5"

    def features(self, folder: Path, executor: Executor | None) -> Path:
        load = partial(stored_network, self.network, "hash", "finetune", CPU)
        return cache_regions(
            gather(range(1, 1 + IMAGES), self.files, [boxes[:1] for boxes in self.boxes], [b[1:] for b in self.boxes]),
            load(),
            Region(size=32, padding=3, mode="warp"),
            ("pool5", "fc7"),
            shard_mb=0.015,
            batch=4,
            **self._settings(folder, executor, load),
        )

    def maps(self, folder: Path, executor: Executor | None) -> Path:
        load = partial(stored_conv, "small", self.backbone, "hash", CPU)
        ids, sizes = [image.id for image in self.index.images], [(60, 50)] * IMAGES
        layout = entries(ids, self.files, sizes, (48, 80), Geometry.from_architecture(architecture("small")))
        return cache_maps(layout, load(), 96, shard_mb=0.05, **self._settings(folder, executor, load))

    def _settings(self, folder: Path, executor: Executor | None, load: Callable[[], Any]) -> dict[str, Any]:
        common = {"device": CPU, "workers": 1, "attributes": {"network": "small"}, "title": "caching"}
        return {"place": folder, "dtype": "float32", **common, "executor": executor, "load": executor and load}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract_module, "PART", 1)
        patch.setattr(cache_module, "CHUNK_BYTES", 8192)  # shards begin and end inside images
        yield Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def dask() -> Iterator[LocalCluster]:
    with local(2) as started:
        yield started


@pytest.fixture
def pool(dask: LocalCluster, project: Project) -> Iterator[Executor]:
    """Yield an executor of two Dask workers, as a stage gets it."""
    dask.wait_for_workers(2, timeout=60)
    with cluster(dask.scheduler_address.replace("tcp", "dask"), 0, [project.network, project.root], CPU) as executor:
        assert executor is not None
        yield executor


KINDS = pytest.mark.parametrize("kind", ["proposals", "features", "maps"])


@pytest.fixture(scope="module")
def undisturbed(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, str], int]]:
    """Return by kind the files that this process makes, and the number of shards."""
    made = {}
    for kind in ("proposals", "features", "maps"):
        folder = tmp_path_factory.mktemp(kind)
        files = tree(getattr(project, kind)(folder, None))
        marks = list((folder / "done").iterdir()) if kind != "proposals" else list(folder.glob("[0-9].h5"))
        made[kind] = files, len(marks)
        assert len(marks) >= IMAGES
    return made


@KINDS
def test_two_processes_make_the_same_bytes(project, undisturbed, tmp_path, kind) -> None:
    with processes(2) as executor:
        assert tree(getattr(project, kind)(tmp_path, executor)) == undisturbed[kind][0]


@pytest.mark.parametrize("kind", ["features", "maps"])
def test_two_processes_write_the_same_bytes_to_an_object_store(project, undisturbed, prefix, kind) -> None:
    place = prefix("a")
    with processes(2) as executor:
        pointer = getattr(project, kind)(place, executor)
    below = connect(f"{Pointer.load(pointer).url}/cache.zarr", place.endpoint)
    assert {key: hashlib.sha256(below.get(key)).hexdigest() for key in below.list()} == undisturbed[kind][0]


@KINDS
def test_dask_makes_the_same_bytes_though_workers_die(project, undisturbed, pool, tmp_path, kind) -> None:
    expected, shards = undisturbed[kind]
    dying = Dying(pool, tmp_path / "log", {0: "before", shards // 2: "writing", shards - 1: "after"})
    (tmp_path / "scratch").mkdir()
    made = getattr(project, kind)(tmp_path / "scratch", dying)
    assert tree(made) == expected
    assert len(dying.calls()) == shards
    assert all(dying.calls()[number] > 1 for number in (0, shards // 2, shards - 1))


def test_a_worker_that_was_taken_for_dead_and_writes_later_changes_no_byte(project, undisturbed, tmp_path) -> None:
    """It is stopped between a shard's last byte and its rename, and goes on when others have made all shards."""
    expected, shards = undisturbed["maps"]
    log, scratch = tmp_path / "log", tmp_path / "scratch"
    scratch.mkdir()
    with processes(2) as executor, ThreadPoolExecutor(1) as thread:
        first = thread.submit(project.maps, scratch, Dying(executor, log, {shards // 2: "stop"}))
        wait_until(lambda: (log / "stopped").exists() and (log / "stopped").read_text(), first)
        sleeper = psutil.Process(int((log / "stopped").read_text()))
        try:
            wait_until(lambda: sleeper.status() == psutil.STATUS_STOPPED, first)
            wait_until(lambda: len(list((scratch / "done").iterdir())) == shards - 1, first)
            project.maps(scratch, None).rename(tmp_path / "published")
        finally:
            sleeper.send_signal(signal.SIGCONT)
        assert first.exception(timeout=120) is not None
    assert tree(tmp_path / "published") == expected


def test_a_second_writer_of_a_shard_changes_no_byte(project, undisturbed, tmp_path) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def twice(place: Place, start: int, values: dict[str, np.ndarray]) -> None:
            write_shard(place, start, values)
            write_shard(place, start, values)

        patch.setattr(cache_module, "write_shard", twice)
        assert tree(project.features(tmp_path, None)) == undisturbed["features"][0]


DRIVER = """
import sys
from pathlib import Path
import pipeline.proposals.extract as module
from pipeline.core.cluster import processes
from pipeline.core.sections import Proposals
from pipeline.data.index import ImageRecord, Index
from tests.core.dying import Dying

if __name__ == "__main__":
    root, folder = map(Path, sys.argv[1:])
    module.PART = 1
    index = Index(("thing",), tuple(ImageRecord(n + 1, f"{n}.png", 60, 50, "") for n in range(6)))
    with processes(2) as pool:
        module.extract(index, root, Proposals(), 1, folder, Dying(pool, folder / "log", {2: "hang", 3: "hang"}))
"""


def test_a_killed_driver_goes_on_in_another_pool_with_what_is_missing(project, undisturbed, pool, tmp_path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, script, project.root, scratch], env=environment, start_new_session=True)
    try:
        wait_until(lambda: all((scratch / name).exists() for name in ("0.h5", "1.h5", "log/2", "log/3")))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    counting = Dying(pool, tmp_path / "log", {})
    assert tree(project.proposals(scratch, counting)) == undisturbed["proposals"][0]
    assert counting.calls() == [1] * (IMAGES - 2)


def test_a_marked_shard_is_not_computed_again(project, tmp_path, monkeypatch) -> None:
    seen = []

    class Keeping(Executor):
        def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Any:
            seen.append((function, args))
            return ThreadPoolExecutor(1).submit(function, *args)

    project.maps(tmp_path, Keeping())
    (tmp_path / "finished.zarr").rename(tmp_path / "cache.zarr")
    monkeypatch.setattr("pipeline.features.maps.map_cells", None)
    for function, args in seen:
        function(*args)


def wait_until(reached: Callable[[], object], work: Any = None) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        assert work is None or not work.done()
        time.sleep(0.01)


# --- the pool -----------------------------------------------------------------------------------------------------


def test_workers_take_the_number_of_threads_of_the_driver(dask, project) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with dask_pool(dask, [project.root], CPU) as executor:
            assert executor.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_workers_are_started_as_are_asked_for(count) -> None:
    with local(count) as started:
        assert len(started.workers) == count


@pytest.mark.parametrize(("threads", "places"), [(2, 2), (4, 1), (16, 1)])
def test_workers_of_a_machine_compute_in_as_many_places_as_it_has_cores_for(
    threads, places, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module, "worker_count", lambda requested: 4)
    inside, most, counted = 0, 0, Lock()

    def compute(number: int) -> None:
        nonlocal inside, most
        with module.turn(threads):
            with counted:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with counted:
                inside -= 1

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(compute, range(10)))
    assert most == places


def test_a_worker_that_would_compute_other_bytes_is_refused_by_name(dask, project, tmp_path, monkeypatch) -> None:
    here = Conditions.here([project.network], None)
    other = replace(here, values=tuple((name, "2.14" if name == "torch" else value) for name, value in here.values))
    monkeypatch.setattr(Conditions, "here", lambda files, device: other)
    sentence = (
        rf"the worker tcp://127\.0\.0\.1:\d+ may compute other bytes .*: torch is {re.escape(version('torch'))} there, "
        r"2\.14 here"
    )
    with pytest.raises(InputError, match=sentence), dask_pool(dask, []):
        pass
    monkeypatch.setattr(Conditions, "demand", lambda *_: None)  # one that came later
    with dask_pool(dask, []) as executor, pytest.raises(InputError, match=sentence):
        executor.submit(os.getpid).result()


def test_a_file_that_a_worker_lacks_is_named(dask, tmp_path, monkeypatch) -> None:
    (tmp_path / "weights").write_text("1")
    here = Conditions.here([tmp_path / "weights"], None)
    (tmp_path / "weights").unlink()
    monkeypatch.setattr(Conditions, "here", lambda files, device: here)
    with (
        pytest.raises(InputError, match=rf"{tmp_path}/weights is missing there, a file 6b86b273ff34 here"),
        dask_pool(dask, []),
    ):
        pass


def test_a_shard_that_ends_workers_is_a_sentence(dask, tmp_path, monkeypatch) -> None:
    dask.wait_for_workers(2, timeout=60)
    monkeypatch.setattr(dask.scheduler, "allowed_failures", 0)
    with pytest.raises(InputError, match="one shard ended 1 workers"), dask_pool(dask, [tmp_path]) as executor:
        Dying(executor, tmp_path / "log", {0: "before"}).submit(os.getpid).result()
    dask.wait_for_workers(2, timeout=60)


def test_a_process_that_is_ended_from_outside_is_a_sentence(tmp_path) -> None:
    with pytest.raises(InputError, match=r"runtime\.workers: one of 2 processes was ended"), processes(2) as executor:
        Dying(executor, tmp_path / "log", {0: "before"}).submit(os.getpid).result()


def test_nobody_answers(monkeypatch) -> None:
    monkeypatch.setattr(module, "CONNECT", 0.5)
    with (
        pytest.raises(InputError, match=r"no Dask scheduler answers at dask://127\.0\.0\.1:9;"),
        cluster("dask://127.0.0.1:9", 1, []),
    ):
        pass
    options = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    with SpecCluster(scheduler={"cls": Scheduler, "options": options}) as empty:
        address = empty.scheduler_address
        with (
            pytest.raises(InputError, match=rf"has no worker; `dask worker {address}"),
            cluster(address.replace("tcp", "dask"), 1, []),
        ):
            pass


def test_dask_on_this_machine_comes_and_goes(tmp_path) -> None:
    with cluster("dask", 1, [tmp_path]) as executor:
        assert executor is not None
        pid = executor.submit(os.getpid).result()
        assert pid != os.getpid()
        assert sorted(completed(executor, abs, range(-4, 0))) == [(-4, 4), (-3, 3), (-2, 2), (-1, 1)]
    assert not psutil.pid_exists(pid)


def test_without_dask_one_sentence_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with cluster("processes", 2, []) as executor:
        assert executor is None
    with (
        pytest.raises(InputError, match=r"runtime\.cluster is dask, .* `pip install 'dask\[distributed\]'`"),
        cluster("dask", 2, []),
    ):
        pass


def test_nothing_imports_dask() -> None:
    code = (
        "import sys, stages.proposals, stages.rcnn.features, stages.sppnet.maps, pipeline.cli;"
        "sys.exit('dask' in sys.modules or 'distributed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_more_tasks_wait_at_an_executor_than_it_needs(monkeypatch) -> None:
    monkeypatch.setattr(module, "WAITING", 3)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(2) as executor:
        for finished, (item, result) in enumerate(completed(executor, lambda item: item * item, items())):
            assert result == item * item
            assert len(taken) - finished <= 3
    assert len(taken) == 20


@contextmanager
def dask_pool(dask: LocalCluster, files: list[Path], device: torch.device | None = None) -> Iterator[Executor]:
    with cluster(dask.scheduler_address.replace("tcp", "dask"), 0, files, device) as executor:
        assert executor is not None
        yield executor
