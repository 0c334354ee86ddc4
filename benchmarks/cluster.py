"""How much faster two workers make proposals than one: processes, and a Dask cluster of this machine.

    python -m benchmarks.cluster ../shared/data/voc100/JPEGImages --images 80

Prints seconds, the ratio to one worker, and the load of the machine: where others compute too, the ratio says little.
Workers have made some proposals before, so that their start does not count.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path

from PIL import Image

from pipeline.core.cluster import cluster, processes
from pipeline.core.sections import Proposals
from pipeline.data.index import ImageRecord, Index
from pipeline.proposals.extract import PART, extract


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder with JPEG images")
    parser.add_argument("--images", type=int, default=80)
    args = parser.parse_args()

    files = sorted(args.folder.glob("*.jpg"))[: args.images]
    index = Index((), tuple(record(number, file) for number, file in enumerate(files, 1)))
    ways: dict[str, Callable[[int], AbstractContextManager[Executor | None]]] = {
        "processes": processes,
        "dask": lambda workers: cluster("dask", workers, [args.folder]),
    }
    for name, pool in ways.items():
        one, two = (seconds(pool(workers), index, args.folder) for workers in (1, 2))
        load = os.getloadavg()[0]
        print(
            f"{name}: {one:.1f} s with one worker, {two:.1f} s with two, {one / two:.2f} times as fast; "
            f"{len(files)} images, load {load:.1f} on {os.cpu_count()} cores"
        )


def record(number: int, file: Path) -> ImageRecord:
    with Image.open(file) as image:
        return ImageRecord(number, file.name, *image.size, "")


def seconds(pool: AbstractContextManager[Executor | None], index: Index, root: Path) -> float:
    first = Index(index.classes, index.images[: 2 * PART])
    with pool as executor, tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as scratch:
        extract(first, root, Proposals(), 1, Path(warm), executor)
        begun = time.perf_counter()
        extract(index, root, Proposals(), 1, Path(scratch), executor)
        return time.perf_counter() - begun


if __name__ == "__main__":
    main()
