"""Proposals for all images of a split, spread over processes."""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from pipeline.boxes import Boxes
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.errors import InputError
from pipeline.params import Proposals
from pipeline.proposals.propose import propose
from pipeline.proposals.store import ProposalSet
from pipeline.runtime import progress, worker_count


def extract(index: Index, root: Path, settings: Proposals, workers: int) -> ProposalSet:
    """Propose boxes for each image of ``index``, under a progress bar.

    Args:
        index: the images.
        root: the folder below which the index names its files.
        settings: engine, number, filter.
        workers: processes, 0 for one per core; the result does not depend on it.

    Raises:
        InputError: an image cannot be read.
        RuntimeError: an engine failed; the message names the image.
    """
    files = [root / image.file for image in index.images]
    found = progress(_each(files, settings, min(worker_count(workers), len(files))), "proposals", total=len(files))
    used = settings.opencv if settings.engine == "opencv" else settings.selectivesearch
    return ProposalSet.join(
        list(found),
        [image.id for image in index.images],
        settings.engine,
        {**settings.model_dump(mode="json", include={"max_per_image", "min_side"}), **used.model_dump(mode="json")},
    )


def _each(files: list[Path], settings: Proposals, workers: int) -> Iterator[Boxes]:
    """Yield the boxes of each file, in the order of the files."""
    work = partial(_propose_file, settings=settings)
    if workers < 2:
        yield from map(work, files)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_parent) as pool:
        try:
            yield from pool.map(work, files)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _propose_file(file: Path, settings: Proposals) -> Boxes:
    try:
        return propose(read_image(file), settings)
    except InputError as error:
        raise InputError(str(error)) from None  # its subclasses do not survive the way back from a worker
    except Exception as error:
        raise RuntimeError(f"{file}: no proposals, as the engine {settings.engine} failed: {error!r}") from error


def _leave_interrupts_to_parent() -> None:
    """On Ctrl-C the parent cancels what waits; a worker ends its image instead of printing a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
