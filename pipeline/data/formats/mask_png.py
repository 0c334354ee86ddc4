"""PNG masks: one file for each image, whose values are classes or instances, or one for each object.

A file's folder says which. 0 is the background; 255 is void in files of 8 bits, so that it is no object.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.runtime import progress
from pipeline.core.sections import SplitShares
from pipeline.data.formats.layout import Layout, gather
from pipeline.data.formats.tree import Tree
from pipeline.data.masks import VOID, bounds, encode, numbers, read_values, void
from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, SourceObject, is_text, read_lines

Kind = Literal["classes", "instances", "object"]
"""What the values of a file are; the last one is 0 and one value more."""
# By the folder's name, in small letters.
FOLDERS: dict[str, Kind] = {
    "masks": "classes",
    "annotations": "classes",
    "ann_dir": "classes",
    "segmentationclass": "classes",
    "instances": "instances",
    "segmentationobject": "instances",
}
NAMES_FILES = ("classes.txt", "class_names.txt")
BACKGROUND = ("background", "_background_")  # where one is the first name, it is that of the value 0
RIGHT = "NAME.png, NAME_mask.png or NAME_CLASS_NUMBER.png, for an image NAME, would be right"


@dataclass(frozen=True)
class MaskFile:
    """A mask: its file, what its values are, and the images that it may belong to, each with the class of its object.

    The class is None in files of classes and of instances.
    """

    file: str
    kind: Kind
    images: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Names:
    """The classes by their value, and the file that names them."""

    file: str
    classes: dict[int, str]


def find(tree: Tree) -> Layout | None:
    """Find PNG files in folders of masks, and what names their classes.

    Raises:
        InputError: nothing, or several files, name the classes of the values; or the file that does cannot be used.
    """
    files = {file: kind for file in tree.ending(".png") if (kind := _kind(file))}
    if not files:
        return None
    pictures = Tree(tree.root, without=files)
    masks = [_mask_file(pictures, file, kind) for file, kind in files.items()]
    owned = [mask for mask in masks if mask.images]
    if not owned:
        return None
    whole = next((mask.file for mask in owned if mask.kind != "object"), None)
    names = _names(tree, whole) if whole else Names("", {})
    named = f", and {names.file}" if whole else ""
    why = f"{len(owned)} PNG files in folders of masks, such as {owned[0].file}{named}"
    return Layout(why, partial(_read, pictures, masks, names))


def _kind(file: str) -> Kind | None:
    """Return what the values of a file are by its folder, None where that is none of masks."""
    kinds = [FOLDERS[part.lower()] for part in PurePosixPath(file).parts[:-1] if part.lower() in FOLDERS]
    return kinds[-1] if kinds else None


def _mask_file(pictures: Tree, file: str, kind: Kind) -> MaskFile:
    """Return a mask with its images: those of its name, else those whose name it continues by a class and a number."""
    stem = PurePosixPath(file).stem
    for name in (stem, stem.removesuffix("_mask")):
        if images := _images_of(pictures, file, name):
            return MaskFile(file, kind, tuple((image, None) for image in images))
    start, _, number = stem.rpartition("_")
    breaks = [i for i, character in enumerate(start) if character == "_"] if number.isdecimal() else []
    named = [(start[:i], start[i + 1 :].strip()) for i in breaks]
    return MaskFile(
        file,
        "object",
        tuple((image, label) for name, label in named if label for image in _images_of(pictures, file, name)),
    )


def _images_of(pictures: Tree, file: str, name: str) -> list[str]:
    folders = [part for part in PurePosixPath(file).parts[:-1] if part.lower() not in FOLDERS]
    return pictures.images_of(PurePosixPath(*folders, f"{name}.png").as_posix()) if name else []


def _names(tree: Tree, mask: str) -> Names:
    files = [file for file in tree.files if PurePosixPath(file).name in NAMES_FILES]
    if len(files) != 1:
        found = " and ".join(files) or "no file"
        right = "classes.txt with one name a line, that of the value 1 first, would be right"
        raise InputError(f"{mask}: lies in a folder of masks, but {found} names the classes of its values; {right}.")
    report = Report()
    lines = [line for _, line in read_lines(tree.root / files[0], files[0], report)]
    if not report.ok:
        raise InputError(report.problems[0])
    first = 0 if lines and lines[0].lower() in BACKGROUND else 1
    classes = {value: name for value, name in enumerate(lines, first) if value}
    if not classes or not all(map(is_text, lines)) or len(set(lines)) < len(lines):
        raise InputError(f"{files[0]}: names no class, or one twice; a name for each value would be right.")
    return Names(files[0], classes)


# --- the objects ----------------------------------------------------------------------------------------------------


def _read(
    pictures: Tree, masks: list[MaskFile], names: Names, shares: SplitShares, seed: int, report: Report
) -> Source:
    by_image: dict[str, list[tuple[MaskFile, str | None]]] = defaultdict(list)
    for mask in masks:
        if len(mask.images) == 1:
            image, label = mask.images[0]
            by_image[image].append((mask, label))
        elif mask.images:
            several = " or ".join(image for image, _ in mask.images)
            report.problem(mask.file, f"may belong to {several}; one image of each name would be right.")
        else:
            report.problem(mask.file, f"this mask has no image of its name; {RIGHT}.")
    images = []
    for image, found in progress(by_image.items(), "reading masks", total=len(by_image)):
        try:
            objects = tuple(_objects(pictures, found, names))
        except InputError as error:
            report.refuse(error)
        else:
            images.append(SourceImage(image, objects, None, found[0][0].file))
    return gather(pictures, images, pictures.split_lists(report), shares, seed, report)


def _objects(pictures: Tree, found: Sequence[tuple[MaskFile, str | None]], names: Names) -> Iterator[SourceObject]:
    """Yield the objects of one image.

    Raises:
        InputError: its masks cannot be read, or do not go together.
    """
    kinds = [mask.kind for mask, _ in found]
    if set(kinds) == {"object"}:
        for mask, label in found:
            assert label is not None
            values = read_values(pictures.root / mask.file, mask.file)
            yield _object(label, _single(values, mask.file), mask.file, mask.file)
        return
    if sorted(kinds) not in (["classes"], ["instances"], ["classes", "instances"]):
        several = " and ".join(mask.file for mask, _ in found)
        right = "one file of its classes, one of its instances, both, or one for each object, would be right"
        raise InputError(f"{several}: are masks of one image; {right}.")
    files: dict[str, str] = {mask.kind: mask.file for mask, _ in found}
    of = {kind: read_values(pictures.root / file, file) for kind, file in files.items()}
    classes = _known(of["classes"], names, files["classes"]) if "classes" in of else None
    if "instances" in of:
        yield from _instances(of["instances"], files, classes, names)
    else:
        assert classes is not None
        yield from _regions(classes, files["classes"], names)


def _object(label: str, pixels: NDArray[np.bool_], file: str, where: str) -> SourceObject:
    mask = encode(pixels, file)
    return SourceObject(label, bounds(mask), False, where, mask=mask)


def _single(values: NDArray[np.integer], file: str) -> NDArray[np.bool_]:
    """Return the pixels of a file's one object."""
    found = np.unique(values[values != 0]).tolist()
    if len(found) != 1:
        listed = f"the values {_listed(found)}" if found else "no pixel of its object"
        raise InputError(f"{file}: has {listed}; 0 and one value more would be right.")
    return values != 0


def _known(values: NDArray[np.integer], names: Names, file: str) -> NDArray[np.integer]:
    """Return values that all have names; where there is one class, 0 and 255 alone are a binary mask of it."""
    found = numbers(values)
    if not found and len(names.classes) == 1:
        values = np.where(values == VOID, next(iter(names.classes)), 0)
    if unknown := [value for value in found if value not in names.classes]:
        message = f"has the values {_listed(unknown)}, which {names.file} does not name"
        raise InputError(f"{file}: {message}; a name for each, or a folder called instances, would be right.")
    return values


def _regions(values: NDArray[np.integer], file: str, names: Names) -> Iterator[SourceObject]:
    """Yield an object for each connected region of a class; pixels that touch at a corner are connected."""
    import cv2

    for value in numbers(values):
        count, regions = cv2.connectedComponents((values == value).astype(np.uint8), connectivity=8)
        for i in range(1, count):
            yield _object(names.classes[value], regions == i, file, f"{file}: value {value}, region {i}")


def _instances(
    values: NDArray[np.integer], files: dict[str, str], classes: NDArray[np.integer] | None, names: Names
) -> Iterator[SourceObject]:
    """Yield an object for each value: of the one class that there is, or of that of most of its pixels."""
    file = files["instances"]
    if classes is None and len(names.classes) > 1:
        right = "one name, or a file of the classes of its pixels, would be right"
        raise InputError(f"{file}: does not say which of the classes in {names.file} its instances have; {right}.")
    if classes is not None and classes.shape != values.shape:
        (height, width), (other_height, other_width) = values.shape, classes.shape
        other = f"{files['classes']} has {other_width} x {other_height}"
        raise InputError(f"{file}: has {width} x {height} pixels, but {other}; one size would be right.")
    for number in numbers(values):
        pixels = values == number
        inside = np.full(1, next(iter(names.classes))) if classes is None else classes[pixels]
        counted = inside[(inside != 0) & ~void(inside)]
        if not len(counted):
            raise InputError(f"{file}: its value {number} has no class in {files['classes']}; one would be right.")
        yield _object(names.classes[int(np.bincount(counted).argmax())], pixels, file, f"{file}: value {number}")


def _listed(values: Sequence[int]) -> str:
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(map(str, values[:5])) + more
