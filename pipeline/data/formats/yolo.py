"""YOLO text: a file for each image, a line for each object: its class number, then a box or a polygon.

Values are shares of the width and height of the upright image: ``centre x, centre y, width, height``, or three or more
points ``x, y``. Classes are named by a YAML file such as ``data.yaml``, or by ``classes.txt``, one a line.
"""

from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

from ruamel.yaml import YAML, YAMLError

from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.formats.layout import Layout, gather, paired
from pipeline.data.formats.shapes import bounds_of_points
from pipeline.data.formats.tree import Listed, Tree
from pipeline.data.masks import as_polygon
from pipeline.data.report import Report, short
from pipeline.data.source import Source, SourceImage, SourceObject, is_text, read_lines, watched

NAMES_FILES = ("classes.txt", "obj.names", "_darknet.labels")
SPLIT_KEYS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
BEYOND = 0.01  # a share may be this far outside [0, 1] by rounding; ultralytics refuses what is further outside, too


@dataclass(frozen=True)
class Names:
    """The classes by their number, the file that names them, and where it says that the splits are."""

    file: str
    classes: dict[int, str]
    splits: dict[str, list[str]]


def find(tree: Tree) -> Layout | None:
    """Find text files with the names of images, one at least with lines of numbers, and the file that names classes.

    Raises:
        InputError: nothing, or several files, name the classes; or the file that does cannot be used.
    """
    texts = [file for file in tree.ending(".txt") if PurePosixPath(file).name not in NAMES_FILES]
    with_image = [file for file in texts if tree.images_of(file)]
    with_numbers = {
        file for file in watched(texts, "looking into text files", "file", len(texts)) if _has_numbers(tree, file)
    }
    if with_numbers.isdisjoint(with_image):
        return None
    files = sorted(with_numbers.union(with_image))
    names = _names(tree, with_image[0])
    why = f"{len(with_image)} text files with the names of images, such as {with_image[0]}, and {names.file}"
    return Layout(why, partial(_read, tree, files, names))


def _has_numbers(tree: Tree, file: str) -> bool:
    """Whether the first line that is not blank is a row of numbers, as many as a box needs."""
    with (tree.root / file).open("rb") as stream:
        first = next((line for line in stream if line.strip()), b"").removeprefix(BOM_UTF8).split()
    return len(first) >= 5 and all(map(_is_float, first))


def _is_float(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- the classes ----------------------------------------------------------------------------------------------------


def _names(tree: Tree, label: str) -> Names:
    found = [names for file in tree.ending(".yaml", ".yml") if (names := _from_yaml(tree, file))]
    if not found:
        files = [file for file in tree.files if PurePosixPath(file).name in NAMES_FILES]
        found = [_from_text(tree, file) for file in files]
    if not found:
        raise InputError(
            f"{label}: looks like a YOLO label, but no file names its classes; data.yaml with names, or classes.txt "
            "with one name a line, would be right."
        )
    for other in found[1:]:
        if (other.classes, other.splits) != (found[0].classes, found[0].splits):
            raise InputError(f"{other.file}: names other classes or splits than {found[0].file}; one would be right.")
    return found[0]


def _from_yaml(tree: Tree, file: str) -> Names | None:
    """Return what a YAML file names; None where it has no ``names``."""
    try:
        content = YAML(typ="safe").load((tree.root / file).read_text(encoding="utf-8-sig"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or "names" not in content:
        return None
    if "kpt_shape" in content:
        raise InputError(
            f"{file}: has kpt_shape, for key points, which are not read; boxes or polygons would be right."
        )
    names = content["names"]
    classes = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(classes, dict) or not all(isinstance(number, int) for number in classes):
        raise InputError(f"{file}: names is {names!r}; a list, or a mapping of numbers to names, would be right.")
    return Names(file, _checked({i: str(name) for i, name in classes.items()}, file), _split_places(content, file))


def _split_places(content: dict[Any, Any], file: str) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for key, split in SPLIT_KEYS.items():
        value = content.get(key)
        listed = value if isinstance(value, list) else [value] if value else []
        if not all(isinstance(place, str) for place in listed):
            raise InputError(f"{file}: {key} is {value!r}; a folder or a text file, or a list of them, would be right.")
        places |= {split: listed} if listed else {}
    return places


def _from_text(tree: Tree, file: str) -> Names:
    report = Report()
    lines = [line for _, line in read_lines(tree.root / file, file, report)]
    if not report.ok:
        raise InputError(report.problems[0])
    return Names(file, _checked(dict(enumerate(lines)), file), {})


def _checked(classes: dict[int, str], file: str) -> dict[int, str]:
    classes = {number: name.strip() for number, name in classes.items()}
    if not classes or not all(map(is_text, classes.values())):
        raise InputError(
            f"{file}: names no class, or an empty one, or one of two lines; a name for each number would be right."
        )
    double = [name for name in classes.values() if list(classes.values()).count(name) > 1]
    if double:
        raise InputError(f"{file}: names two classes {double[0]!r}; a name for each number would be right.")
    return classes


# --- the splits -----------------------------------------------------------------------------------------------------


def _splits(tree: Tree, names: Names, report: Report) -> Listed:
    """Return the images of the splits that the YAML file names, else those of lists such as ``train.txt``."""
    lists: Listed = {}
    for split, places in names.splits.items():
        for place in places:
            lists.setdefault(split, {}).update(_at(tree, names.file, split, place, report))
    for one, other in combinations(list(lists), 2):
        if lists[one] and lists[one].keys() == lists.get(other, {}).keys():
            report.problem(f"{names.file}: {other}", f"names the images of {one}; without it, data.split makes it.")
            del lists[other]
    return lists or tree.split_lists(report)


def _at(tree: Tree, file: str, split: str, place: str, report: Report) -> dict[str, str]:
    """Return the images at a folder or list that the YAML file names.

    The path may be that of another machine: its longest end that exists counts, below the YAML file's folder.
    """
    where = f"{file}: {split}"
    parts = [part for part in PurePosixPath(place.replace("\\", "/")).parts if part not in ("..", "/")]
    for folder in (PurePosixPath(file).parent, PurePosixPath()):
        for i in range(len(parts)):
            path = folder.joinpath(*parts[i:])
            if path.as_posix() in tree.files:
                return tree.read_list(path.as_posix(), report)
            if images := [image for image in sorted(tree.images) if PurePosixPath(image).is_relative_to(path)]:
                return dict.fromkeys(images, where)
    if split != "test":  # a download often names a test split that it does not have
        report.problem(where, f"is {place!r}, but the folder has no images and no list there.")
    return {}


# --- the objects ----------------------------------------------------------------------------------------------------


def _read(tree: Tree, files: list[str], names: Names, shares: SplitShares, seed: int, report: Report) -> Source:
    pairs = paired(tree, files, report)
    images = [
        SourceImage(image, tuple(_objects(tree, file, names, report)), None, file)
        for file, image in watched(pairs.items(), "reading annotations", "file", len(pairs))
    ]
    labelled = {PurePosixPath(image.file).parent for image in images}
    for file in sorted(tree.images - {image.file for image in images}):
        if PurePosixPath(file).parent in labelled:
            report.note("image without object", file, "it has no label file: taken as an image without object.")
            images.append(SourceImage(file, (), None, file))
    return gather(tree, images, _splits(tree, names, report), shares, seed, report, relative=True)


def _objects(tree: Tree, file: str, names: Names, report: Report) -> Iterator[SourceObject]:
    for where, line in read_lines(tree.root / file, file, report):
        number, *values = line.split()
        if not _is_float(number) or float(number) not in names.classes:
            report.problem(where, f"has the class {number!r}; a number that {names.file} names would be right.")
        elif not all(map(_is_float, values)):
            report.problem(where, f"is {short(line)!r}; numbers would be right.")
        elif len(values) != 4 and (len(values) < 6 or len(values) % 2):
            message = "4 of a box, or pairs of 3 or more points, would be right"
            report.problem(where, f"has {len(values)} values behind the class; {message}.")
        elif not all(-BEYOND <= float(value) <= 1 + BEYOND for value in values):
            report.problem(where, f"is {short(line)!r}; shares of the image's sides, from 0 to 1, would be right.")
        else:
            yield _object(names.classes[int(float(number))], list(map(float, values)), where)


def _object(name: str, values: list[float], where: str) -> SourceObject:
    if len(values) > 4:
        points = list(zip(values[::2], values[1::2], strict=True))
        return SourceObject(name, bounds_of_points(points), False, where, mask=as_polygon(points))
    x, y, width, height = values
    return SourceObject(name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), False, where)
