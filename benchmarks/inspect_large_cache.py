"""`boxline inspect` on a cache of gigabytes: wall time, processor time and peak memory of its views.

    python -m benchmarks.inspect_large_cache [--gigabytes 4] [--views summary units]

Run it where the pipeline has run. The cache is R-CNN's of the test split many times over: rows of fc7 side by side up
to 1,024 values, in another order and at another scale in each copy, so that zeros and compression are those of real
features. It is written to a temporary folder beside the project's other files, looked at by the command itself, and
removed. Reading and decompressing it alone, by the same number of threads, is the floor.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.features.cache import CacheWriter, Column, FeatureCache

WIDTH, SHARD_MB = 1024, 128
CACHE = Path("features/rcnn/test.zarr")
STAGE = "systems/rcnn/dvc.yaml:features@test"
VIEWS = {
    "summary": ["summary", "rcnn"],
    "units": ["units", "--layer", "fc7", "--units", "0-63", "--html", "units.html"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4, help="raw size of the cache")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS))
    options = parser.parse_args()
    project = Path.cwd()
    with tempfile.TemporaryDirectory(dir=project) as name:
        folder = Path(name)
        for entry in ("data", "params.yaml"):
            (folder / entry).symlink_to(project / entry)
        large = enlarge(FeatureCache(CACHE, STAGE), options.gigabytes, folder)
        array = large.array("fc7")
        stored = sum(file.stat().st_size for file in large.path.rglob("*") if file.is_file())
        shape = " x ".join(f"{side:,}" for side in array.shape)
        print(f"{shape} {array.dtype}: {array.nbytes / 1e9:.2f} GB, {stored / 1e9:.2f} stored")
        start = time.perf_counter()
        read(large)
        print(f"{'reading alone':14} {time.perf_counter() - start:6.1f} s")
        for view in options.views:
            print(f"{view:14} " + "{:6.1f} s, {:6.1f} s of processors, {:,.0f} MiB".format(*look(VIEWS[view], folder)))


def enlarge(cache: FeatureCache, gigabytes: float, project: Path) -> FeatureCache:
    """Write the large cache below ``project`` and return it."""
    fc7, offsets = np.asarray(cache.array("fc7")), cache.offsets
    side_by_side = np.tile(fc7, (1, WIDTH // fc7.shape[1] + 1))[:, :WIDTH]
    copies = round(gigabytes * 1e9 / (2 * WIDTH * len(fc7)))
    images = list(pairwise(offsets))
    order = np.concatenate([np.tile(np.arange(a, b), copies) for a, b in images])
    first = np.concatenate([np.arange(copies * (b - a)) < b - a for a, b in images])
    tables = {
        "offsets": offsets * copies,
        "image_ids": cache.image_ids,
        "boxes": cache.table("boxes")[order],
        "is_ground_truth": cache.table("is_ground_truth")[order] & first,
    }
    scratch, columns = project / "scratch", [Column("fc7", WIDTH, "float16")]
    scratch.mkdir()
    with CacheWriter(scratch, columns, len(order), SHARD_MB, tables, cache.attributes) as writer:
        for start, stop in writer.pending():
            writer.write(start, {"fc7": changed(side_by_side[order[start:stop]], start)})
    target = project / CACHE
    target.parent.mkdir(parents=True)
    writer.place.path.rename(target)
    return FeatureCache(target, STAGE)


def changed(rows: NDArray[np.float16], seed: int) -> NDArray[np.float16]:
    """Return ``rows`` with columns in another order, at other scales: no two copies are equal."""
    rng = runtime.item_rng(1, seed)
    scale = rng.uniform(0.5, 1.5, (len(rows), 1)).astype(np.float16)
    return np.ascontiguousarray(rows[:, rng.permutation(WIDTH)] * scale)


def read(cache: FeatureCache) -> None:
    """Read all chunks and do nothing with them."""
    array = cache.array("fc7")
    stretches: Iterator[int] = iter(range(0, array.shape[0], array.chunks[0]))
    with ThreadPoolExecutor(runtime.worker_count(0)) as threads:
        for _ in threads.map(lambda start: array[start : start + array.chunks[0]].shape, stretches):
            pass


def look(view: list[str], folder: Path) -> tuple[float, float, float]:
    """Run a view and return seconds, processor seconds and MiB of peak memory."""
    command = [sys.executable, "-m", "pipeline.cli", "inspect", *view]
    start, memory, spent = time.perf_counter(), 0, 0.0
    with psutil.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                memory, times = max(memory, process.memory_info().rss), process.cpu_times()
                spent = times.user + times.system
            except psutil.Error:
                break
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, spent, memory / (1 << 20)


def environment() -> dict[str, str]:
    """Return this process's environment with this project's code first."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


if __name__ == "__main__":
    main()
