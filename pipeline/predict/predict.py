"""Pictures through detectors, outside the graph: each result is written and forgotten, so memory does not grow."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.runtime import bar
from pipeline.detector import Description, Detector
from pipeline.evaluation import operating
from pipeline.predict.pictures import Broken, Picture, batches
from pipeline.predict.results import (
    Outcome,
    Result,
    Writer,
    coco_writer,
    error_writer,
    folder_writer,
    line_writer,
)
from pipeline.registry import load, system


def predict(
    pictures: Sequence[Picture],
    systems: Sequence[str],
    models: Path,
    device: str,
    *,
    threshold: float | None,
    out: Path | None,
    as_json: bool,
    by_system: bool,
) -> bool:
    """Send all pictures through each system, write the results and say on stderr how it went.

    Args:
        pictures: the files.
        systems: names.
        models: the folder that holds ``NAME/`` for each system.
        device: as for `load`.
        threshold: the lowest score that counts; None for those of each system and class: the scores with the best F1
            where `evaluate` left them below ``models`` (`pipeline.evaluation.operating`), else ``System.shown_from``.
        out: the folder to write into (`folder_writer`), or None.
        as_json: print `coco_writer`'s results; with neither this nor ``out`` a line for each picture is printed.
        by_system: whether ``out`` gets a folder for each system, and JSON a key.

    Returns:
        Whether all pictures could be read.

    Raises:
        InputError: a model is missing, a file below ``models`` is damaged, or results cannot be written.
    """
    for name in systems:
        Description.load(models / name, name)  # a missing model is named before the first picture, not hours later
    errors, clean = error_writer(), True
    try:
        for position, name in enumerate(systems):
            if as_json and by_system:  # one object, the systems its keys
                sys.stdout.write(f'{"," if position else "{"}"{name}": ')
            detector, folder = load(name, models, device), out / name if out and by_system else out
            if threshold is None:
                lowest = operating.load(models, name, detector.classes, otherwise=system(name).shown_from)
            else:
                lowest = np.full(len(detector.classes), threshold, np.float32)
            clean &= _predict(detector, pictures, lowest, folder, as_json, errors)
        if as_json and by_system:
            sys.stdout.write("}\n")
    except OSError as error:
        raise InputError(f"{error.filename or out or 'stdout'}: cannot be written ({error.strerror}).") from error
    return clean


def detections(
    detector: Detector, pictures: Sequence[Picture], lowest: NDArray[np.float32], keep_full: bool
) -> Iterator[Outcome]:
    """Yield what becomes of each picture, under a progress bar; a broken one may come before its turn.

    Args:
        detector: any of the systems.
        pictures: the files.
        lowest: ``(C,)``, the lowest score that counts of each class.
        keep_full: whether the results shall hold all pixels.
    """
    with bar(detector.system, len(pictures)) as progress:
        for read, broken in batches(pictures, detector.at_once if detector.batched else 1, keep_full):
            yield from broken
            for pixels, detected in zip(read, detector.detect([one.reduced for one in read]), strict=True):
                yield Result.of(pixels, detected, lowest)
            progress.update(len(read) + len(broken))


def _predict(
    detector: Detector,
    pictures: Sequence[Picture],
    lowest: NDArray[np.float32],
    out: Path | None,
    as_json: bool,
    errors: Writer,
) -> bool:
    start, broken = perf_counter(), 0
    writers = [errors]
    with ExitStack() as stack:
        if out:
            writers.append(stack.enter_context(folder_writer(out, detector.classes)))
        if as_json:
            writers.append(stack.enter_context(coco_writer(sys.stdout, detector.classes)))
        elif not out:
            writers.append(line_writer(detector.classes))
        for outcome in detections(detector, pictures, lowest, keep_full=out is not None):
            broken += isinstance(outcome, Broken)
            for write in writers:
                write(outcome)
        seconds = perf_counter() - start
    images = len(pictures) - broken
    rate = f"{images} images, {broken} errors, {images / seconds:.3g} images/s"
    print(f"{detector.system}: {rate}{f'; see {out}' if out else ''}", file=sys.stderr)
    return not broken
