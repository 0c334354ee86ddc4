"""Proposals for all images of a split, spread over processes."""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.core.runtime import progress, worker_count
from pipeline.core.sections import Proposals
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.proposals.engines import propose
from pipeline.proposals.store import ProposalSet

# Images in one file of the scratch folder: a kill costs no more than these.
PART = 100


def extract(index: Index, root: Path, settings: Proposals, workers: int, scratch: Path) -> ProposalSet:
    """Propose boxes for each image of ``index``, under a progress bar.

    Args:
        index: the images.
        root: the folder below which the index names its files.
        settings: engine, number, filter.
        workers: processes, 0 for one per core; the result does not depend on it.
        scratch: a folder for finished parts; called again with the same folder, only the missing ones are made.

    Raises:
        InputError: an image cannot be read.
        RuntimeError: an engine failed; the message names the image.
    """
    used = settings.opencv if settings.engine == "opencv" else settings.selectivesearch
    recorded = {
        **settings.model_dump(mode="json", include={"max_per_image", "max_width", "min_side"}),
        **used.model_dump(mode="json"),
    }
    parts = {scratch / f"{start}.h5": index.images[start : start + PART] for start in range(0, len(index.images), PART)}
    missing = {file: images for file, images in parts.items() if not file.is_file()}
    pending = [root / image.file for images in missing.values() for image in images]
    boxes = _each(pending, settings, min(worker_count(workers), len(pending)))
    total = len(index.images)
    shown = progress(boxes, "proposals", total=total, done=total - len(pending))
    for file, images in missing.items():
        ids = [image.id for image in images]
        ProposalSet.join(list(islice(shown, len(ids))), ids, settings.engine, recorded).save(file)
    next(shown, None)  # there is none: this ends the processes, so that their time is on record
    per_image = [boxes for file in parts for boxes in ProposalSet.load(file)]
    return ProposalSet.join(per_image, [image.id for image in index.images], settings.engine, recorded)


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
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"{file}: no proposals, as the engine {settings.engine} failed: {error!r}") from error


def _leave_interrupts_to_parent() -> None:
    """On Ctrl-C the parent cancels the waiting images; a worker finishes its image instead of printing a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
