"""Proposals for all images of a split, spread over processes or a cluster."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.core.boxes import Boxes
from pipeline.core.cluster import completed, processes
from pipeline.core.errors import InputError
from pipeline.core.runtime import bar, worker_count
from pipeline.core.sections import Proposals
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.proposals.engines import propose
from pipeline.proposals.store import ProposalSet

# Images of one task, and in one file of the scratch folder: a kill costs no more than these.
PART = 10


@dataclass(frozen=True)
class _Part:
    """Some images in a row, and the file of their proposals; the file is there when they are finished."""

    file: Path
    images: tuple[Path, ...]
    ids: tuple[int, ...]
    settings: Proposals

    def make(self) -> None:
        if not self.file.exists():
            boxes = [_propose_file(image, self.settings) for image in self.images]
            # Under a name of its own: a worker that was taken for dead may be writing the same.
            own = self.file.with_suffix(f".{uuid4().hex[:8]}.h5")
            ProposalSet.join(boxes, self.ids, self.settings.engine, _recorded(self.settings)).save(own)
            own.replace(self.file)


def extract(
    index: Index, root: Path, settings: Proposals, workers: int, scratch: Path, executor: Executor | None = None
) -> ProposalSet:
    """Propose boxes for each image of ``index``, under a progress bar.

    Args:
        index: the images.
        root: the folder below which the index names its files.
        settings: engine, number, filter.
        workers: processes, 0 for one per core; the result does not depend on it.
        scratch: a folder for finished parts; called again with the same folder, only the missing ones are made.
        executor: of a cluster, in place of processes.

    Raises:
        InputError: an image cannot be read, or a cluster's files are not found here.
        RuntimeError: an engine failed; the message names the image.
    """
    if executor is not None:  # whose workers run in other folders
        root, scratch = root.absolute(), scratch.absolute()
    parts = list(_parts(index, root, settings, scratch))
    missing = _missing(parts, scratch)
    total = len(index.images)
    done = total - sum(len(part.ids) for part in missing)
    workers = min(worker_count(workers), len(missing))
    pool = nullcontext(executor) if executor is not None else processes(workers)
    with pool as used, bar("proposals", total, done=done) as shown:
        for part, _ in completed(used, _Part.make, missing):
            shown.update(len(part.ids))
    if left := _missing(parts, scratch):
        raise InputError(
            f"{scratch}: {left[0].file.name} is not here, where a worker should have written it; a folder that all "
            f"machines share would be right."
        )
    per_image = [boxes for part in parts for boxes in ProposalSet.load(part.file)]
    return ProposalSet.join(per_image, [image.id for image in index.images], settings.engine, _recorded(settings))


def _parts(index: Index, root: Path, settings: Proposals, scratch: Path) -> Iterator[_Part]:
    for start in range(0, len(index.images), PART):
        images = index.images[start : start + PART]
        files, ids = tuple(root / image.file for image in images), tuple(image.id for image in images)
        yield _Part(scratch / f"{start}.h5", files, ids, settings)


def _missing(parts: list[_Part], scratch: Path) -> list[_Part]:
    """Return the parts that are still to be made."""
    # A listing: a file that was asked for before another machine wrote it can stay unknown for a while.
    made = set(scratch.iterdir()) if scratch.is_dir() else set()
    return [part for part in parts if part.file not in made]


def _recorded(settings: Proposals) -> dict[str, Any]:
    """Return the settings that a file of proposals names."""
    used = settings.opencv if settings.engine == "opencv" else settings.selectivesearch
    general = settings.model_dump(mode="json", include={"max_per_image", "max_width", "min_side"})
    return {**general, **used.model_dump(mode="json")}


def _propose_file(file: Path, settings: Proposals) -> Boxes:
    try:
        return propose(read_image(file), settings)
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"{file}: no proposals, as the engine {settings.engine} failed: {error!r}") from error
