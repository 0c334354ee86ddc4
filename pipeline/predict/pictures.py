"""From what a person names (files, folders, patterns) to the list of pictures to look at."""

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath

from pipeline.core.errors import InputError
from pipeline.data.voc import IMAGE_ENDINGS


class NothingThereError(InputError):
    """An argument names no picture."""


@dataclass(frozen=True)
class Picture:
    """One file to look at.

    Attributes:
        path: as it was named, or below the folder that was.
        out: where its results go, relative to their folder: the file's own name, below the named folder; a number is
            added where two pictures would share it. Without its ending, too, it is no other picture's.
    """

    path: Path
    out: PurePosixPath

    @property
    def name(self) -> str:
        """Return the path as text that any terminal and any XML file takes."""
        return printable(str(self.path))


def find_pictures(arguments: Sequence[str], leave_out: Path | None = None) -> list[Picture]:
    """Return the pictures that ``arguments`` name: in that order, within a folder in natural order, each once.

    A file is taken whatever its ending. A folder is searched with all folders below it for `IMAGE_ENDINGS`, hidden
    files and folders aside. Anything else is a pattern (``*``, ``?``, ``[...]``, ``**``).

    Args:
        arguments: paths and patterns.
        leave_out: a folder that is not searched, since results go there.

    Raises:
        NothingThereError: one of them names no picture.
    """
    seen: set[Path] = set()
    taken: set[str] = set()
    pictures = []
    for argument in arguments:
        found = list(_named(argument, leave_out))
        if not found:
            raise NothingThereError(_nothing(argument))
        for path, name in found:
            identity = path.parent.resolve() / path.name  # two links to one file are two pictures
            if identity not in seen:
                seen.add(identity)
                pictures.append(Picture(path, _free(name, taken)))
    return pictures


def natural_order(path: PurePosixPath) -> tuple[list[list[tuple[int, str]]], str]:
    """Return a key by which ``2.jpg`` comes before ``10.jpg``, folder by folder, and upper case counts as lower."""
    return [_numbers_as_numbers(part) for part in path.parts], str(path)


def printable(text: str) -> str:
    """Return ``text`` with a question mark for each character that cannot be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _numbers_as_numbers(text: str) -> list[tuple[int, str]]:
    pieces = re.split(r"(\d+)", text.casefold())
    return [(int(piece), "") if place % 2 else (0, piece) for place, piece in enumerate(pieces)]


def _named(argument: str, leave_out: Path | None) -> Iterator[tuple[Path, PurePosixPath]]:
    """Yield the files that one argument stands for, each with its name below the folder that was named."""
    path = Path(argument)
    if path.is_dir():
        yield from _below(path, leave_out)
    elif path.exists():
        yield path, PurePosixPath(path.name)
    else:
        matches = (Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        for match in sorted(matches, key=lambda match: natural_order(PurePosixPath(match.as_posix()))):
            if match.is_dir():
                yield from _below(match, leave_out)
            else:
                yield match, PurePosixPath(match.name)


def _below(folder: Path, leave_out: Path | None) -> Iterator[tuple[Path, PurePosixPath]]:
    files = {PurePosixPath(path.relative_to(folder).as_posix()): path for path in folder.rglob("*")}
    excluded = leave_out.resolve() if leave_out else None
    for name in sorted(files, key=natural_order):
        path = files[name]
        hidden = any(part.startswith(".") for part in name.parts)
        if hidden or path.suffix.lower() not in IMAGE_ENDINGS or path.is_dir():
            continue
        if excluded is None or not path.resolve().is_relative_to(excluded):
            yield path, name


def _nothing(argument: str) -> str:
    if Path(argument).is_dir():
        return f"{argument}: the folder holds no picture; looked for {', '.join(IMAGE_ENDINGS)}, below it too."
    if glob.has_magic(argument):
        return f"{argument}: no file matches this pattern."
    return f"{argument}: there is no such file or folder."


def _free(name: PurePosixPath, taken: set[str]) -> PurePosixPath:
    """Return ``name`` or, where it is taken, with ``_2``, ``_3``, ... before its ending; letter case does not count."""
    name = PurePosixPath(printable(str(name)))
    others = (name.with_name(f"{name.stem}_{number}{name.suffix}") for number in count(2))
    for candidate in chain([name], others):
        key = str(candidate.with_suffix("")).casefold()
        if key not in taken:
            taken.add(key)
            return candidate
    raise AssertionError("count() does not end")
