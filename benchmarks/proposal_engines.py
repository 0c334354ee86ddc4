"""Compare the proposal engines on a VOC folder: boxes, time, coverage, and what a second process brings.

    python -m benchmarks.proposal_engines VOC_FOLDER [--limit 40] [--engines opencv] [--scaling 2] [--package]

The settings of each engine are those of params.yaml; all its boxes are kept unless --max-per-image says otherwise.
Seconds are processor seconds of one core, so that a busy machine counts little; the scaling test needs a quiet one.
--package sets the engine selectivesearch against the package's own function: time, and whether the regions are equal.
"""

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from selectivesearch import selective_search

from pipeline import params
from pipeline.core.runtime import progress
from pipeline.core.sections import Proposals, SelectiveSearch
from pipeline.data.dataset import read_dataset
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.evaluation.recall import Coverage, cover, recall, summary
from pipeline.proposals import grouping
from pipeline.proposals.engines import propose
from pipeline.proposals.extract import extract

BUDGETS = (300, 500, 1000, 2000)


def main() -> None:
    options = _arguments()
    settings = params.load().proposals.model_copy(
        update={"max_per_image": options.max_per_image, "min_side": options.min_side}
    )
    index = _read(options.folder, options.limit)
    objects = sum(int((~image.ignore).sum()) for image in index.images)
    print(f"{len(index.images)} images, {objects} objects that are not difficult, sides from {options.min_side} pixels")
    print("engine           boxes  s/image  R@.5   R@.7   MABO   " + "  ".join(f"R@.5/{n:<4}" for n in BUDGETS))
    for engine in options.engines:
        coverage, seconds = _measure(index, options.folder, settings.model_copy(update={"engine": engine}))
        print(_row(engine, coverage, seconds))
    if options.package:
        _compare_package(index, options.folder, settings.selectivesearch)
    if options.scaling:
        _compare_workers(index, options.folder, settings.model_copy(update={"engine": options.engines[-1]}), options)


def _measure(index: Index, root: Path, settings: Proposals) -> tuple[Coverage, float]:
    """Return the coverage and the processor seconds per image, decoding left out."""
    boxes, seconds = [], 0.0
    for image in progress(index.images, settings.engine):
        pixels = read_image(root / image.file)
        start = time.process_time()
        boxes.append(propose(pixels, settings))
        seconds += time.process_time() - start
    return cover(index, boxes, (*BUDGETS, settings.max_per_image)), seconds / len(index.images)


def _row(engine: str, coverage: Coverage, seconds: float) -> str:
    all_boxes = summary(coverage)
    figures = "  ".join(f"{all_boxes[name]:.3f}" for name in ("recall_50", "recall_70", "mabo"))
    within = "  ".join(f"{recall(row, 0.5):<9.3f}" for row in coverage.overlaps[: len(BUDGETS)])
    return f"{engine:15s}  {all_boxes['boxes_per_image']:5.0f}  {seconds:7.3f}  {figures}  {within}"


def _compare_package(index: Index, root: Path, settings: SelectiveSearch) -> None:
    """Time the package's own function against ours on the same images, and compare their regions, order included."""
    own, ours, equal = 0.0, 0.0, 0
    for image in progress(index.images, "package"):
        pixels = read_image(root / image.file)
        start = time.process_time()
        expected = [_package(pixels, scale, settings.sigma) for scale in settings.scales]
        middle = time.process_time()
        found = grouping.search(pixels, settings.scales, settings.sigma)
        own, ours = own + middle - start, ours + time.process_time() - middle
        equal += all(map(np.array_equal, found, expected))
    count = len(index.images)
    print(f"the package itself {own / count:.3f} s/image, here {ours / count:.3f}: {own / ours:.2f} times as fast")
    print(f"the same regions in the same order in {equal} of {count} images")


def _package(pixels: NDArray[np.uint8], scale: int, sigma: float) -> NDArray[np.int64]:
    with warnings.catch_warnings():
        # It computes local binary patterns of a float image, which scikit-image advises against.
        warnings.simplefilter("ignore", UserWarning)
        _, regions = selective_search(pixels, scale=scale, sigma=sigma, min_size=scale)
    x, y, width, height = np.array([region["rect"] for region in regions]).T
    return np.stack([x, y, x + width, y + height], axis=1)


def _compare_workers(index: Index, root: Path, settings: Proposals, options: argparse.Namespace) -> None:
    """Time the whole extraction, start-up of the processes included, with one process and with several."""
    wall = {}
    for workers in (1, options.scaling):
        start, busy = time.perf_counter(), _processor_seconds()
        with tempfile.TemporaryDirectory() as scratch:
            extract(index, root, settings, workers, Path(scratch))
        wall[workers] = time.perf_counter() - start
        print(
            f"{settings.engine}, {workers} workers: {wall[workers]:.1f} s, {_processor_seconds() - busy:.1f} s of cores"
        )
    print(f"{options.scaling} workers are {wall[1] / wall[options.scaling]:.2f} times as fast as one")


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _read(folder: Path, limit: int | None) -> Index:
    """Return the first images of all splits together."""
    data = params.load().data.model_copy(update={"source": "voc", "root": str(folder), "classes": None})
    splits = read_dataset(data).splits.values()
    images = sorted((image for index in splits for image in index.images), key=lambda image: image.file)
    return Index(next(iter(splits)).classes, tuple(images[:limit]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a dataset in VOC layout")
    parser.add_argument("--limit", type=int, help="use the first images only")
    parser.add_argument("--engines", nargs="+", default=["selectivesearch", "opencv"], help="which engines")
    parser.add_argument("--max-per-image", type=int, default=100_000, help="boxes kept per image (all)")
    parser.add_argument("--min-side", type=int, default=20, help="least side of a box in pixels (20)")
    parser.add_argument("--package", action="store_true", help="also compare with the package's own function")
    parser.add_argument("--scaling", type=int, default=0, help="also time 1 against so many worker processes (not)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
