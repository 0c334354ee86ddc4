"""The files below a data root: which are images, which image another file belongs to, which split a path names."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

from pipeline.core.errors import InputError
from pipeline.data.report import Report
from pipeline.data.source import is_text, read_lines, watched
from pipeline.data.voc import IMAGE_ENDINGS

SPLIT = re.compile(
    r"(?:obj_)?"
    r"(?:(?P<trainval>trainval)|(?P<train>train|training)|(?P<val>val|valid|validation)|(?P<test>test|testing))"
    r"[-_]?\d*(?:_data)?"
)
KINDS = ("image", "img", "jpegimage", "picture", "label", "annotation", "annot", "xml", "txt", "json", "labelme")
"""Folders that say what their files are, not which image they belong to; also with an s at the end."""
Listed = dict[str, dict[str, str]]
"""For each split the images that a list names, each with the file and line."""


@dataclass(frozen=True)
class JsonShape:
    """The keys of a JSON mapping, and those of its first value; both are empty for anything else."""

    keys: frozenset[str]
    inner: frozenset[str]


class Tree:
    """The files below ``root`` as sorted paths relative to it; hidden ones, and those of ``without``, are left out.

    Attributes:
        root: the folder.
        files: the paths, with ``/`` between folders.
        unnamed: paths that are not UTF-8 text on one line, escaped; they are not among the files.
    """

    def __init__(self, root: Path, without: Collection[str] = ()) -> None:
        self.root = root
        paths = watched(_walk(root, set()), "listing files", "file")
        found = sorted({path.relative_to(root).as_posix() for path in paths}.difference(without))
        self.files = tuple(file for file in found if is_text(file))
        self.unnamed = tuple(ascii(file) for file in found if not is_text(file))
        self._shapes: dict[str, JsonShape] = {}

    def ending(self, *endings: str) -> list[str]:
        """Return the files with one of these endings, given in small letters with their dot."""
        return sorted(file for ending in endings for file in self._by_ending.get(ending, []))

    @cached_property
    def images(self) -> frozenset[str]:
        """The image files."""
        return frozenset(self.ending(*IMAGE_ENDINGS))

    def images_of(self, file: str) -> list[str]:
        """Return the images with the name of ``file``, in its folder or in the folder that corresponds to it.

        ``labels/train/1.txt``, ``train/labels/1.txt`` and ``train/1.txt`` all belong to ``train/images/1.jpg``. Where
        no folder corresponds, images anywhere with that name count, unless they are in another split.
        """
        found = self._by_key.get(_key(file), [])
        if not found:
            named = self._by_name.get(normalize("NFC", PurePosixPath(file).stem), [])
            found = [image for image in named if not _apart(file, image)]
        beside = [image for image in found if PurePosixPath(image).parent == PurePosixPath(file).parent]
        return beside or found

    def image_named(self, name: str, beside: str) -> str | None:
        """Return the image that ``name``, a path or the end of one, means in the file ``beside``.

        The path may be that of another machine: its longest end that is an image counts, below the folder of the
        file, then below the root. A bare name, perhaps without ending, is looked for in the file's folder and below,
        then everywhere, as is the name of a path that is not here, if not in another split. None stands for no image,
        or for several.
        """
        parts = PurePosixPath(normalize("NFC", name.replace("\\", "/"))).parts
        folder = PurePosixPath(beside).parent
        for i in range(len(parts)):
            for place in (folder, PurePosixPath()):
                if (path := place.joinpath(*parts[i:]).as_posix()) in self._composed:
                    return self._composed[path]
        found = self._by_name.get(parts[-1], []) if parts else []
        near = [image for image in found if PurePosixPath(image).is_relative_to(folder)] or found
        return near[0] if len(near) == 1 and not _apart("/".join(parts), near[0]) else None

    def json_shape(self, file: str) -> JsonShape:
        """Return the shape of a JSON file.

        Raises:
            InputError: the file cannot be read or is no JSON.
        """
        if file not in self._shapes:
            content = read_json(self.root / file, file)
            first = next(iter(content.values()), None) if isinstance(content, dict) else None
            self._shapes[file] = JsonShape(_keys(content), _keys(first))
        return self._shapes[file]

    def apart(self, ending: str) -> list[str]:
        """Return the files of an ending that do not have the name of an image: those that may be about many."""
        return [file for file in self.ending(ending) if not self.images_of(file)]

    def split_lists(self, report: Report) -> Listed:
        """Read the text files of one folder that list the images of a split; a line that names no image is a problem.

        The folder is the first of those nearest to the root; files in others are noted.
        """
        files = [file for file in self.apart(".txt") if split_of(PurePosixPath(file).stem)]
        folders = sorted({PurePosixPath(file).parent for file in files}, key=lambda folder: (len(folder.parts), folder))
        lists: Listed = {}
        for file in files:
            path = PurePosixPath(file)
            if path.parent != folders[0]:
                report.note("list not used", file, f"the lists in {folders[0]} are used.")
            elif split := split_of(path.stem):
                lists.setdefault(split, {}).update(self.read_list(file, report))
        return lists

    def read_list(self, file: str, report: Report) -> dict[str, str]:
        """Return the images that the lines of a text file name, each with the file and line."""
        listed: dict[str, str] = {}
        for where, line in read_lines(self.root / file, file, report):
            if (image := self.image_named(line, file)) is None:
                report.problem(where, f"names {line!r}, which is not the path or the name of one image.")
            else:
                listed[image] = where
        return listed

    @cached_property
    def _by_ending(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for file in self.files:
            found[PurePosixPath(file).suffix.lower()].append(file)
        return dict(found)

    @cached_property
    def _composed(self) -> dict[str, str]:
        return {normalize("NFC", image): image for image in self.images}

    @cached_property
    def _by_key(self) -> dict[tuple[str, ...], list[str]]:
        keyed = defaultdict(list)
        for image in sorted(self.images):
            keyed[_key(image)].append(image)
        return dict(keyed)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        named = defaultdict(list)
        for path, image in sorted(self._composed.items()):
            named[PurePosixPath(path).name].append(image)
            named[PurePosixPath(path).stem].append(image)
        return dict(named)


def split_of(path: str) -> str | None:
    """Return the split, or ``trainval``, that the parts of a path name; the last one counts."""
    for part in reversed(PurePosixPath(path.lower()).parts):
        if match := SPLIT.fullmatch(part):
            return match.lastgroup
    return None


def read_json(path: Path, name: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: the file cannot be read or is no JSON; the message calls it ``name``.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({error.strerror}); a file that you may read would be right."
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(f"{name}:{error.lineno}: this is not JSON ({error.msg}, column {error.colno}).") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: this is not JSON ({error}).") from error


def _keys(value: Any) -> frozenset[str]:
    return frozenset(value) if isinstance(value, dict) else frozenset()


def _apart(file: str, other: str) -> bool:
    """Whether the folders of two files name different splits."""
    splits = {split_of(path.rpartition("/")[0]) for path in (file, other)} - {None}
    return len(splits) > 1


def _key(file: str) -> tuple[str, ...]:
    """Return what a file has in common with those that belong to it: its name without ending, and folders."""
    path = PurePosixPath(normalize("NFC", file))
    return (*(part for part in path.parts[:-1] if part.lower().removesuffix("s") not in KINDS), path.stem)


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the files below a folder, those behind links too, each folder once."""
    if (real := folder.resolve()) in seen:
        return
    seen.add(real)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            path = Path(entry.path)
            linked = entry.is_symlink()  # of a link to itself, entry.is_dir() raises and path.is_dir() is false
            if path.is_dir() if linked else entry.is_dir():
                yield from _walk(path, seen)
            elif path.is_file() if linked else entry.is_file():
                yield path
