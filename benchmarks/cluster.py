"""What a cluster gains and costs: two workers against one, an object store's speed, and Dask's limit with many workers.

    python -m benchmarks.cluster --images 80
    python -m benchmarks.cluster --only simulation --workers 100

proposals   seconds of one worker and of two, processes and Dask; the goal is 1.8 times as fast
features    R-CNN's cache by this process on all cores and by two Dask workers; the goal is 0.95 times as fast or more
store       stored megabytes a second to and from an S3 server on this machine (moto), beside those of a folder
simulation  so many Dask workers with sleeping tasks of real durations scaled down, some of them stragglers, against the
            time that no scheduler could beat; how many tasks a second the scheduler hands out, and what one costs it

Prints the load of the machine too: where others compute, ratios say little. Workers have done something before, so that
their start does not count. `--small` tries everything on data that is too small to say anything, in seconds.
"""

import argparse
import heapq
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.feature_caching import random_regions
from benchmarks.scaling import photographs
from pipeline.core.cluster import cluster, completed, processes
from pipeline.core.sections import Proposals, Region
from pipeline.core.storage import sha256
from pipeline.data.index import ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column, FeatureCache
from pipeline.features.objects import ObjectPrefix, Pointer
from pipeline.features.places import Folder, Place
from pipeline.proposals.extract import PART, extract
from pipeline.systems.rcnn.features import cache_regions, stored_network
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape

CPU = torch.device("cpu")
PARTS = ("proposals", "features", "store", "simulation")
LAYERS = ("pool5", "fc7")
PROCESSES = 4  # that hold the workers of the simulation


@dataclass(frozen=True)
class Sizes:
    """How large the measurements are.

    Attributes:
        images: of the proposals; a twentieth of them of the features.
        side: images are shrunk to it where it is given, in pixels.
        network: of the features.
        region: side of its regions.
        regions: of an image.
        shard_mb: of the features, so small that both workers get many.
        turns: of this process and the workers.
        store_mb: raw, of the cache that goes to the object store.
        object_mb: raw, of each of its shards.
        workers: of the simulation.
        tasks: of each of them.
        seconds: of a task of median length: ten images of selective search (docs/scaling.md).
        faster: by what the simulation divides them.
    """

    images: int = 80
    side: int | None = None
    network: str = "alexnet"
    region: int = 227
    regions: int = 1000
    shard_mb: float = 8
    turns: int = 3
    store_mb: int = 512
    object_mb: float = 64
    workers: int = 100
    tasks: int = 20
    seconds: float = 9.5
    faster: float = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="JPEG images (photographs that come with scikit-image)")
    parser.add_argument("--images", type=int, default=Sizes.images)
    parser.add_argument("--workers", type=int, default=Sizes.workers, help="of the simulation")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--small", action="store_true", help="a trial in seconds")
    options = parser.parse_args()
    sizes = Sizes(images=options.images, workers=options.workers)
    if options.small:
        sizes = Sizes(4, 64, "small", 32, 20, 0.1, turns=1, store_mb=2, object_mb=1, workers=4, tasks=3, faster=500)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        files = sorted(options.folder.glob("*.jpg"))[: sizes.images] if options.folder else drawn(sizes, scratch)
        measure: dict[str, Callable[[], Iterator[str]]] = {
            "proposals": lambda: proposals(files),
            "features": lambda: features(files, sizes, scratch),
            "store": lambda: store(sizes, scratch),
            "simulation": lambda: simulation(sizes),
        }
        for part in options.only:
            for line in measure[part]():
                print(f"{part}: {line} (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)", flush=True)


def drawn(sizes: Sizes, folder: Path) -> list[Path]:
    """Write photographs into ``folder``."""
    files = []
    for number, pixels in enumerate(photographs(sizes.images)):
        image = Image.fromarray(pixels)
        files.append(folder / f"{number:04}.jpg")
        (image.resize((sizes.side, sizes.side)) if sizes.side else image).save(files[-1])
    return files


# --- two workers --------------------------------------------------------------------------------------------------


def proposals(files: Sequence[Path]) -> Iterator[str]:
    """Compare two workers with one, by processes and by Dask."""
    root = files[0].parent
    index = Index((), tuple(record(number, file) for number, file in enumerate(files, 1)))
    ways: dict[str, Callable[[int], AbstractContextManager[Executor | None]]] = {
        "processes": processes,
        "dask": lambda workers: cluster("dask", workers, [root]),
    }
    for name, pool in ways.items():
        one, two = (_extracted(pool(workers), index, root) for workers in (1, 2))
        yield (
            f"{name}, {len(files)} images: {one:.1f} s with one worker, {two:.1f} s with two, {one / two:.2f} times as "
            "fast"
        )


def record(number: int, file: Path) -> ImageRecord:
    """Return an image without objects."""
    with Image.open(file) as image:
        return ImageRecord(number, file.name, *image.size, "")


def _extracted(pool: AbstractContextManager[Executor | None], index: Index, root: Path) -> float:
    first = Index(index.classes, index.images[: 2 * PART])
    with pool as executor, tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as scratch:
        extract(first, root, Proposals(), 1, Path(warm), executor)
        begun = time.perf_counter()
        extract(index, root, Proposals(), 1, Path(scratch), executor)
        return time.perf_counter() - begun


def features(files: Sequence[Path], sizes: Sizes, scratch: Path) -> Iterator[str]:
    """Compare two Dask workers with this process, in turn, so that a busy neighbour slows both."""
    torch.manual_seed(0)
    file = scratch / "network.safetensors"
    RegionNetwork(RegionShape(sizes.network, sizes.region, fc_width=512, outputs=0)).save(file)
    load = partial(stored_network, file, sha256(file), "the benchmark", CPU)
    regions = random_regions(files[: max(2, sizes.images // 20)], sizes.regions)

    def seconds(executor: Executor | None) -> float:
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            cache_regions(
                regions,
                load(),
                Region(size=sizes.region, padding=4, mode="warp"),
                LAYERS,
                place=Path(folder),
                dtype="float16",
                shard_mb=sizes.shard_mb,
                batch=load().net.batch(sizes.region, CPU, "fp32"),
                device=CPU,
                workers=2,
                attributes={},
                title="features",
                executor=executor,
                load=load,
            )
            return time.perf_counter() - begun

    with cluster("dask", 2, [file, scratch], CPU) as executor:
        turns = [(seconds(None), seconds(executor)) for _ in range(1 + sizes.turns)][1:]  # the first warms up
    alone, two = (sum(each) for each in zip(*turns, strict=True))
    threads = torch.get_num_threads()
    yield (
        f"{len(regions.boxes)} regions, {sizes.turns} times: {alone:.1f} s in this process on {threads} threads, "
        f"{two:.1f} s with two Dask workers, {alone / two:.2f} times as fast"
    )


# --- an object store ----------------------------------------------------------------------------------------------


def store(sizes: Sizes, scratch: Path) -> Iterator[str]:
    """Write a cache to a folder and to an S3 server, and read both."""
    rng = np.random.default_rng(0)
    values = np.maximum(rng.standard_normal((sizes.store_mb * 128, 4096), np.float32), 0).astype(np.float16)
    with s3_server() as endpoint:
        folders = [scratch / "folder", scratch / "objects"]
        for folder in folders:
            folder.mkdir()
        places: dict[str, Place] = {
            "a folder": Folder(folders[0]),
            "an S3 server": ObjectPrefix("s3://boxes/benchmark", endpoint, folders[1]),
        }
        for name, place in places.items():
            begun = time.perf_counter()
            cache = written(values, place, sizes.object_mb)
            made = time.perf_counter()
            rows = sum(len(rows) for _, rows in FeatureCache(cache, "the benchmark").images("fc7"))
            read = time.perf_counter()
            stored = Pointer.load(cache).size if cache.is_file() else sum(f.stat().st_size for f in cache.rglob("*"))
            write, back = (f"{stored / 1e6 / spent:.0f} MB/s" for spent in (made - begun, read - made))
            yield f"{name}, {rows} rows, {values.nbytes / 1e6:.0f} MB, as {stored / 1e6:.0f} MB: {write} in, {back} out"


def written(values: np.ndarray, place: Place, shard_mb: float) -> Path:
    """Write ``values`` as a cache of images of 64 rows."""
    images = len(values) // 64
    tables = {"offsets": 64 * np.arange(images + 1), "image_ids": np.arange(images)}
    with CacheWriter(place, [Column("fc7", values.shape[1], "float16")], len(values), shard_mb, tables, {}) as writer:
        for start, stop in writer.pending():
            writer.write(start, {"fc7": values[start:stop]})
    return writer.finish()


@contextmanager
def s3_server() -> Iterator[str]:
    """Give the endpoint of an S3 server in a process of its own, with the bucket ``boxes``."""
    import boto3

    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    endpoint = here.recv()
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="boxes")
    try:
        yield endpoint
    finally:
        process.terminate()
        process.join()


def _serve(parent: Connection) -> None:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    parent.send(f"http://{host}:{port}")
    while True:
        time.sleep(3600)


# --- many workers -------------------------------------------------------------------------------------------------


def simulation(sizes: Sizes) -> Iterator[str]:
    """Let the threads of a few processes, each thread a worker, sleep; the project's own way hands out the tasks."""
    from distributed import Client, LocalCluster

    each = sizes.workers // PROCESSES
    workers = PROCESSES * each
    tasks = durations(workers * sizes.tasks, sizes.seconds / sizes.faster)
    with (
        LocalCluster(n_workers=PROCESSES, threads_per_worker=each, memory_limit=0, dashboard_address=None) as started,
        Client(started) as client,
    ):
        executor = client.get_executor(pure=False)
        list(completed(executor, time.sleep, [0.1] * workers))
        begun, computed = time.perf_counter(), time.process_time()
        list(completed(executor, time.sleep, [0.0] * len(tasks)))
        each_second = len(tasks) / (time.perf_counter() - begun)
        each_ms = (time.process_time() - computed) / len(tasks) * 1000
        begun = time.perf_counter()
        list(completed(executor, time.sleep, tasks))
        spent = time.perf_counter() - begun
    ideal, greedy = sum(tasks) / workers, greedy_seconds(tasks, workers)
    yield (
        f"{workers} workers, {len(tasks)} tasks of {np.median(tasks):.2f} s, the longest {max(tasks):.2f} s: "
        f"{spent:.2f} s, where {ideal:.2f} s would be no idling and {greedy:.2f} s no scheduling; {ideal / spent:.2f} "
        f"and {greedy / spent:.2f} of the ideal"
    )
    yield (
        f"a task costs scheduler and driver {each_ms:.2f} ms of a core; {each_second:.0f} tasks a second at most, "
        f"enough for {each_second * sizes.seconds:.0f} workers whose tasks take {sizes.seconds:g} s"
    )


def durations(count: int, median: float) -> list[float]:
    """Return seconds of tasks: a third around the median, and one in fifty a straggler of five times its length."""
    rng = np.random.default_rng(0)
    return (median * rng.lognormal(0, 0.33, count) * np.where(rng.random(count) < 0.02, 5, 1)).tolist()


def greedy_seconds(tasks: Sequence[float], workers: int) -> float:
    """Return how long tasks take that go, in their order, to whichever worker is free first."""
    free = [0.0] * workers
    for seconds in tasks:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


if __name__ == "__main__":
    main()
