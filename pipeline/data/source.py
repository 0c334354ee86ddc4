"""A dataset as annotated, before any check against the pixels, and the splits for a dataset that does not name all."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from pipeline.core.errors import InputError
from pipeline.core.runtime import item_seed, progress
from pipeline.core.sections import SplitShares
from pipeline.data.index import SPLITS
from pipeline.data.masks import Mask
from pipeline.data.report import Report, is_odd

T = TypeVar("T")
MANY = 100  # files, or entries of one, from which on a progress bar is shown


@dataclass(frozen=True)
class SourceObject:
    """One annotated object.

    Attributes:
        name: its class.
        corners: ``(x1, y1, x2, y2)`` in the convention of the source, perhaps inverted or not finite.
        ignore: difficult (VOC) or crowd (COCO).
        where: the file and line, or the file and annotation id.
        crowd: one box around many objects (COCO's iscrowd); such an object is to ignore as well.
        mask: its pixels; polygons in the unit of the corners, counted from 0 and half-open.
    """

    name: str
    corners: tuple[float, float, float, float]
    ignore: bool
    where: str
    crowd: bool = False
    mask: Mask | None = None


@dataclass(frozen=True)
class SourceImage:
    """One annotated image: its path below the data root, its objects, and the size its annotation claims, if any."""

    file: str
    objects: tuple[SourceObject, ...]
    size: tuple[float, float] | None
    where: str


@dataclass(frozen=True)
class Source:
    """A whole dataset as annotated: the images of each split.

    ``inclusive`` says that corners are VOC's, 1-based with the last pixel inside; else they are the project's.
    ``relative`` says that they are the project's as shares of the upright image's sides.
    """

    inclusive: bool
    splits: dict[str, list[SourceImage]] = field(default_factory=dict)
    relative: bool = False


def is_text(name: str) -> bool:
    """Whether a name is not empty, is one line, and can be written as UTF-8: bad bytes leave halves of characters."""
    return bool(name) and not any(map(is_odd, name))


@contextmanager
def reading(root: Path) -> Iterator[None]:
    """Turn the error of a file or folder below ``root`` that cannot be read into a sentence.

    Raises:
        InputError: the system refuses to read it.
    """
    try:
        yield
    except OSError as error:
        where = Path(error.filename or root)
        # The functions of os.path, as those of Path raise the error again.
        if isinstance(error, PermissionError) and not os.path.exists(where):  # noqa: PTH110
            where = where.parent  # which may be listed, but not entered
        name = where.relative_to(root) if where.is_relative_to(root) and where != root else where
        kind = "folder" if error.filename and os.path.isdir(where) else "file"  # noqa: PTH112
        raise InputError(
            f"{name}: cannot be read ({error.strerror}); a {kind} that you may read would be right."
        ) from error


def watched(items: Iterable[T], title: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items``, those after the first `MANY` under a progress bar; without ``total`` it only counts."""
    following = iter(items)
    yield from islice(following, MANY)
    for first in following:
        yield from progress(chain([first], following), title, total=total, unit=unit, done=MANY)


def read_lines(path: Path, name: str, report: Report) -> list[tuple[str, str]]:
    """Return the lines of a text file that are not blank, each behind ``name:line``; other than UTF-8 is a problem."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        report.problem(name, "is not UTF-8 text.")
        return []
    return [(f"{name}:{i}", line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]


def complete(
    lists: Mapping[str, Iterable[str]], shares: SplitShares, seed: int
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Make three splits from the lists that a dataset has, any of ``train``, ``val``, ``trainval``, ``test``.

    ``trainval`` without one of its halves is the other half. A split that is still missing takes its share of the
    images listed for training or validation, or of the test images where there are none. A dataset without lists has
    all its images in ``trainval``.

    Returns the sorted names of each split, and the splits that were carved out by seed.
    """
    given = without_trainval(lists)
    missing = tuple(split for split in SPLITS if split not in given)
    pool = given.get("train", set()) | given.get("val", set()) or given.get("test", set())
    split_of = {name: split for split, names in given.items() for name in names} | carve(pool, missing, shares, seed)
    return {split: sorted(name for name in split_of if split_of[name] == split) for split in SPLITS}, missing


def without_trainval(lists: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Return the lists with ``trainval`` as the half that is missing, or as ``train`` where both are."""
    given = {split: set(names) for split, names in lists.items()}
    trainval = given.pop("trainval", set())
    for half, other in (("train", "val"), ("val", "train")):
        if half not in given and trainval - given.get(other, trainval):
            given[half] = trainval - given[other]
    if trainval and "train" not in given and "val" not in given:
        given["train"] = trainval  # val takes its share of them in `complete`
    return given


def carve(names: Iterable[str], wanted: Iterable[str], shares: SplitShares, seed: int) -> dict[str, str]:
    """Give each ``wanted`` split its share of the names; names that no split takes are not in the result.

    Names are ranked by a hash of the seed and the name, and each split takes a run of that order. So an added image
    moves at most one image over each border. A share above 0 gives at least one image.
    """
    order = sorted(set(names), key=lambda name: (item_seed(seed, "split", name), name))
    share = {"test": shares.test, "val": shares.val, "train": max(0.0, 1 - shares.test - shares.val)}
    taken: dict[str, str] = {}
    for split in (split for split in share if split in set(wanted)):
        count = max(1, round(share[split] * len(order))) if share[split] > 0 else 0
        taken |= dict.fromkeys(order[len(taken) :][:count], split)
    return taken
