"""Pictures to look at: from the files, folders and patterns that a person names to batches of pixels."""

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.runtime import read_ahead
from pipeline.data.images import UnreadableImageError, read_image
from pipeline.data.voc import IMAGE_ENDINGS
from pipeline.imaging import resize

# A longer side is reduced to this before detection, the most that the papers' networks see (Fast R-CNN, section 5.2);
# the cost of selective search grows with the pixels. Boxes are given in the picture's original pixels all the same.
LONGEST_SIDE = 1000
# A shorter side is padded to this share of the longer one before detection: a strip three pixels high would give a
# network no map at all.
NARROWEST = 1 / 6
# Pictures that are read while the detector works: their pixels are in memory.
AHEAD = 4
# A batch ends where the pixels to be kept for drawing exceed this, 16 million: 48 MB.
BATCH_PIXELS = 1 << 24


class NoPictureError(InputError):
    """An argument names no picture."""


@dataclass(frozen=True)
class Picture:
    """One file to look at.

    Attributes:
        path: as it was named, or below the folder that was.
        out: where its results go, relative to their folder: the file's name, below the named folder; a number is
            added where two pictures would share it. Without its ending, too, it is no other picture's.
    """

    path: Path
    out: PurePosixPath

    @property
    def name(self) -> str:
        """The path as text that any terminal and any XML file takes."""
        return printable(str(self.path))


@dataclass(frozen=True)
class Pixels:
    """One picture that was read.

    Attributes:
        number: its place in the list, from 1: the image id of its results.
        picture: the file.
        size: ``(width, height)`` in pixels, upright.
        reduced: what the detector gets, ``(h, w, 3)`` uint8 RGB.
        factors: from its pixels to those of the picture, across and down.
        full: all pixels, ``(height, width, 3)`` uint8 RGB, or None where they were not asked for.
    """

    number: int
    picture: Picture
    size: tuple[int, int]
    reduced: NDArray[np.uint8]
    factors: tuple[float, float]
    full: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Broken:
    """One picture that could not be read, and why."""

    picture: Picture
    reason: str


def find_pictures(arguments: Sequence[str], exclude: Path | None = None) -> list[Picture]:
    """Return the pictures that ``arguments`` name: in that order, within a folder in natural order, each once.

    A file is taken whatever its ending. A folder is searched with all folders below it for `IMAGE_ENDINGS`, hidden
    files and folders aside. Anything else is a pattern (``*``, ``?``, ``[...]``, ``**``).

    Args:
        arguments: paths and patterns.
        exclude: a folder that is not searched, since results go there.

    Raises:
        NoPictureError: one of them names no picture.
    """
    known: set[Path] = set()
    taken: set[str] = set()
    pictures = []
    for argument in arguments:
        files = list(_files(argument, exclude))
        if not files:
            raise NoPictureError(_no_picture(argument))
        for path, name in files:
            identity = path.parent.resolve() / path.name  # two links to one file are two pictures
            if identity not in known:
                known.add(identity)
                pictures.append(Picture(path, _free(name, taken)))
    return pictures


def natural_order(path: PurePosixPath) -> tuple[list[list[tuple[int, str]]], str]:
    """Return a key by which ``2.jpg`` comes before ``10.jpg``, folder by folder, and upper case counts as lower."""
    parts = (re.split(r"(\d+)", part.casefold()) for part in path.parts)
    return [[(int(p), "") if odd % 2 else (0, p) for odd, p in enumerate(pieces)] for pieces in parts], str(path)


def printable(text: str) -> str:
    """Return ``text`` with a question mark for each character that cannot be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def batches(pictures: Sequence[Picture], size: int, keep_full: bool) -> Iterator[tuple[list[Pixels], list[Broken]]]:
    """Yield the pictures in their order, up to ``size`` readable ones at a time, with the broken ones among them.

    Another thread reads them while the caller works.

    Args:
        pictures: the files.
        size: of a batch.
        keep_full: whether all pixels of a large picture are needed afterwards.
    """
    read: list[Pixels] = []
    broken: list[Broken] = []
    total = 0
    numbered = enumerate(pictures, 1)
    for _, outcome in read_ahead(lambda item: _read(*item, keep_full), numbered, workers=1, ahead=AHEAD):
        if isinstance(outcome, Broken):
            broken.append(outcome)
            continue
        read.append(outcome)
        total += outcome.size[0] * outcome.size[1] if keep_full else 0
        if len(read) == size or total > BATCH_PIXELS:
            yield read, broken
            read, broken, total = [], [], 0
    if read or broken:
        yield read, broken


def _files(argument: str, exclude: Path | None) -> Iterator[tuple[Path, PurePosixPath]]:
    """Yield the files that one argument stands for, each with its name below the folder that was named."""
    try:
        matches = [Path(argument)]
        if not matches[0].exists():
            matches = [Path(match) for match in glob.glob(argument, recursive=True)]  # noqa: PTH207 (Path.glob takes no absolute pattern)
    except OSError as error:  # of a name that is longer than any on its disk
        raise NoPictureError(f"{argument[:60]}...: {error.strerror}; the path of a picture would be right.") from None
    for match in sorted(matches, key=lambda match: natural_order(PurePosixPath(match.as_posix()))):
        if match.is_dir():
            yield from _below(match, exclude.resolve() if exclude else None)
        else:
            yield match, PurePosixPath(match.name)


def _below(folder: Path, exclude: Path | None) -> Iterator[tuple[Path, PurePosixPath]]:
    files = {PurePosixPath(path.relative_to(folder).as_posix()): path for path in folder.rglob("*")}
    for name in sorted(files, key=natural_order):
        path = files[name]
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or path.suffix.lower() not in IMAGE_ENDINGS or path.is_dir() or path.is_fifo():
            continue
        if exclude is None or not path.parent.resolve().is_relative_to(exclude):
            yield path, name


def _no_picture(argument: str) -> str:
    if Path(argument).is_dir():
        return f"{argument}: the folder holds no picture; looked for {', '.join(IMAGE_ENDINGS)}, below it too."
    if glob.has_magic(argument):
        return f"{argument}: no file matches this pattern."
    return f"{argument}: there is no such file or folder."


def _free(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """Return ``name`` or, where it is taken, with ``_2``, ``_3``, ... before its ending; letter case does not count."""
    name = PurePosixPath(printable(str(name)))
    numbered = (name.with_name(f"{name.stem}_{number}{name.suffix}") for number in count(2))
    free = next(path for path in chain([name], numbered) if str(path.with_suffix("")).casefold() not in taken)
    taken.add(str(free.with_suffix("")).casefold())
    return free


def _read(number: int, picture: Picture, keep_full: bool) -> Pixels | Broken:
    try:
        image = read_image(picture.path)
    except UnreadableImageError as error:
        return Broken(picture, error.reason)
    height, width = image.shape[:2]
    longest = max(height, width)
    reduced = resize(image, LONGEST_SIDE / longest) if longest > LONGEST_SIDE else image
    factors = width / reduced.shape[1], height / reduced.shape[0]
    return Pixels(number, picture, (width, height), _padded(reduced), factors, image if keep_full else None)


def _padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the last row or column of an image narrower than `NARROWEST`."""
    height, width = image.shape[:2]
    least = round(max(height, width) * NARROWEST)
    missing = ((0, max(0, least - height)), (0, max(0, least - width)), (0, 0))
    return np.pad(image, missing, mode="edge") if np.any(missing) else image
