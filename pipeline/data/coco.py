"""Reading a dataset in the format of COCO: images in a folder, objects in one JSON file, or one per split."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.formats.shapes import Corners
from pipeline.data.formats.tree import read_json
from pipeline.data.masks import Mask, RunLengths, bounds
from pipeline.data.report import Report, short
from pipeline.data.source import Source, SourceImage, SourceObject, complete, is_text, watched
from pipeline.data.voc import IMAGE_ENDINGS

SECTIONS = ("images", "annotations", "categories")
LONGEST = 1 << 31  # pixels; beyond any image, and COCO's run lengths are 32-bit numbers


@dataclass(frozen=True)
class CocoPart:
    """One JSON file and the folder of its images, both below the data root; ``split`` is None for a whole dataset."""

    annotations: str
    images: str
    split: str | None


def read_coco(
    root: Path,
    parts: Sequence[CocoPart],
    shares: SplitShares,
    seed: int,
    report: Report,
    *,
    others: Iterable[str] = (),
) -> Source:
    """Read the parts of a dataset; their faults go into ``report``, and so do images that no part lists.

    Those are looked for in the folders of the parts, and among ``others``, image files elsewhere.

    Boxes become corners; category ids become names, so that files with different ids go together. Objects with
    ``iscrowd`` are crowds; these are to be ignored, and so are objects with ``ignore``, which the index of this project
    writes. An object with a ``segmentation`` and without ``bbox`` has the box around its mask. Categories of one name,
    blanks around it left out, are one class. `source.complete` makes the splits that no file gives.
    """
    images: dict[str, SourceImage] = {}
    lists: dict[str, list[str]] = {}
    for part in parts:
        try:
            read = _read_part(root, part, report)
        except InputError as error:
            report.refuse(error)
            continue
        for image in read:
            if image.file in images:
                report.problem(image.where, f"names {image.file}, which another file, or another entry, names too.")
            images[image.file] = image
        lists.setdefault(part.split or "trainval", []).extend(image.file for image in read)
    _note_unused(root, {part.images for part in parts}, others, images, report)
    splits, carved = complete(lists, shares, seed)
    for split in carved if images else ():
        message = f"{len(splits[split])} images were taken by data.seed and data.split, as no file gives this split."
        report.note("split made here", f"split {split}", message)
    return Source(inclusive=False, splits={split: [images[file] for file in files] for split, files in splits.items()})


def load_coco(path: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the three sections of a COCO file, each checked to be a list of mappings.

    Raises:
        InputError: the file cannot be read, is no JSON, or lacks a section; the message calls it ``name``.
    """
    content = read_json(path, name)
    if not isinstance(content, dict):
        raise InputError(f"{name}: holds a JSON {type(content).__name__}; a mapping with {SECTIONS} would be right.")
    for section in SECTIONS:
        entries = content.get(section)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(f"{name}: has no list of mappings called {section!r}.")
    return {section: content[section] for section in SECTIONS}


def _read_part(root: Path, part: CocoPart, report: Report) -> list[SourceImage]:
    content = load_coco(root / part.annotations, part.annotations)
    categories = _keyed(content["categories"], "category", "name", part.annotations, report, unique=False)
    images = _keyed(content["images"], "image", "file_name", part.annotations, report, unique=True)
    _note_repeated(categories, part.annotations, report)
    if not content["images"]:
        report.problem(part.annotations, "lists no image.")
    objects: dict[Any, list[SourceObject]] = defaultdict(list)
    annotations = watched(content["annotations"], "reading annotations", "object", len(content["annotations"]))
    for i, annotation in enumerate(annotations):
        where = f"{part.annotations}: annotation {annotation.get('id', f'number {i + 1}')}"
        if (item := _object(annotation, where, images, categories, report)) is not None:
            objects[annotation["image_id"]].append(item)
    read = []
    for key, image in watched(images.entries.items(), "looking for images", "image", len(images.entries)):
        where = f"{part.annotations}: image {key}"
        if (file := _file(root, part.images, image["file_name"], where, report)) is not None:
            read.append(SourceImage(file, tuple(objects[key]), _size(image), where))
    return read


@dataclass(frozen=True)
class _Keyed:
    """Entries by their id; ``refused`` are the ids of those that cannot be used, each a problem already."""

    entries: dict[Any, dict]
    refused: set[Any]


def _keyed(entries: list[dict], kind: str, value: str, file: str, report: Report, *, unique: bool) -> _Keyed:
    """Return the entries with a text called ``value``; their ids, and with ``unique`` the texts, must differ."""
    keyed = _Keyed({}, set())
    texts: set[str] = set()
    for i, entry in enumerate(entries, 1):
        where = f"{file}: {kind} number {i}"
        key, text = entry.get("id"), entry.get(value)
        if not isinstance(key, int | str):
            report.problem(where, f"has {key!r} as 'id'; a number would be right.")
        elif key in keyed.entries:
            report.problem(where, f"has the id {key!r}, which another {kind} has too.")
        elif not isinstance(text, str) or not is_text(text.strip()):
            report.problem(where, f"has {text!r} as {value!r}; a text would be right.")
            keyed.refused.add(key)
        elif unique and text in texts:
            report.problem(where, f"has the {value} {text!r}, which another {kind} has too.")
            keyed.refused.add(key)
        else:
            keyed.entries[key] = entry
            texts.add(text)
    return keyed


def _note_repeated(categories: _Keyed, file: str, report: Report) -> None:
    keys: dict[str, list[str]] = defaultdict(list)
    for key, category in categories.entries.items():
        keys[category["name"].strip()].append(str(key))
    for name, several in keys.items():
        if len(several) > 1:
            report.note("category given twice", file, f"{name!r} has the ids {', '.join(several)}: they are one class.")


def _object(annotation: dict, where: str, images: _Keyed, categories: _Keyed, report: Report) -> SourceObject | None:
    needed = ("image_id", "category_id") if annotation.get("segmentation") else ("image_id", "category_id", "bbox")
    missing = [key for key in needed if key not in annotation]
    if missing:
        report.problem(where, f"has no {' and no '.join(map(repr, missing))}.")
        return None
    for key, known in (("image_id", images), ("category_id", categories)):
        value = annotation[key]
        if isinstance(value, int | str) and value in known.refused:
            return None
        if not isinstance(value, int | str) or value not in known.entries:
            other = str(value) in map(str, known.entries)
            which = "which an entry has as its id in another JSON type" if other else "which no entry has as its id"
            report.problem(where, f"has {key} {value!r}, {which}.")
            return None
    try:
        mask = _mask(annotation.get("segmentation"), where)
        corners = _corners(annotation.get("bbox"), mask, where)
    except InputError as error:
        report.refuse(error)
        return None
    flags = {key: _flag(annotation.get(key)) for key in ("iscrowd", "ignore")}
    for key, flag in flags.items():
        if flag is None:
            report.problem(where, f"has {annotation[key]!r} as {key!r}; 0 or 1 would be right.")
            return None
    name = categories.entries[annotation["category_id"]]["name"].strip()
    crowd = bool(flags["iscrowd"])
    return SourceObject(name, corners, crowd or bool(flags["ignore"]), where, crowd, mask)


def _corners(bbox: Any, mask: Mask | None, where: str) -> Corners:
    """Return the corners of a ``bbox``, or those around the mask where there is none."""
    if bbox is None and mask is not None:
        try:
            return bounds(mask)
        except ValueError as error:
            raise InputError(f"{where}: has run lengths beyond the 'size' of its 'segmentation'.") from error
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        raise InputError(f"{where}: has {bbox!r} as 'bbox'; four numbers [x, y, width, height] would be right.")
    x, y, width, height = map(float, bbox)
    return x, y, x + width, y + height


def _mask(segmentation: Any, where: str) -> Mask | None:
    """Return the mask of a ``segmentation``, None where it is left out or empty, as other tools write it.

    Raises:
        InputError: it is neither a list of polygons nor run lengths.
    """
    if segmentation in (None, "", {}, [], [[]]):
        return None
    match segmentation:
        case {"size": [int(height), int(width)], "counts": str() | list() as counts} if _are_runs(
            height, width, counts
        ):
            return RunLengths(width, height, counts)
        case dict():
            right = "'size' [height, width] and 'counts', a text or a list of numbers from 0, would be right"
            raise InputError(f"{where}: has {short(repr(segmentation))} as 'segmentation'; {right}.")
    if not isinstance(segmentation, list) or not all(isinstance(part, list) for part in segmentation):
        right = "a list of polygons [x, y, x, y, x, y], or run lengths, would be right"
        raise InputError(f"{where}: has {short(repr(segmentation))} as 'segmentation'; {right}.")
    for i, part in enumerate(segmentation, 1):
        if not all(map(_is_number, part)):
            raise InputError(f"{where}: polygon {i} of 'segmentation' is {short(repr(part))}; numbers would be right.")
        if len(part) < 6 or len(part) % 2:
            right = "pairs x, y of 3 or more points would be right"
            raise InputError(f"{where}: polygon {i} of 'segmentation' has {len(part)} numbers; {right}.")
    return tuple(np.array(part, np.float64).reshape(-1, 2) for part in segmentation)


def _are_runs(height: int, width: int, counts: str | list[Any]) -> bool:
    if not (0 < height < LONGEST and 0 < width < LONGEST):
        return False
    if isinstance(counts, str):
        return counts.isascii()
    return all(isinstance(length, int) and 0 <= length < LONGEST for length in counts)


def _flag(value: object) -> bool | None:
    """Return what a JSON value says of yes and no, missing or null being no; None where it says neither."""
    if value is None or value in (0, 1):
        return bool(value)
    text = value.strip().lower() if isinstance(value, str) else None
    return {"": False, "0": False, "false": False, "1": True, "true": True}.get(text) if text is not None else None


def _size(image: dict) -> tuple[float, float] | None:
    """Return the size that an entry claims, None where it claims none; a text that is no number is left as it is."""
    width, height = image.get("width"), image.get("height")
    if width is None or height is None:
        return None
    try:
        return float(width), float(height)
    except (TypeError, ValueError, OverflowError):
        return width, height


def _is_number(value: object) -> bool:
    """Whether a JSON value is a number that float64 holds; JSON has integers of any length."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _file(root: Path, folder: str, file_name: str, where: str, report: Report) -> str | None:
    """Return the path below the data root of an image, or None and a problem where there is no such file."""
    path = PurePosixPath(folder, file_name)
    if path.is_absolute() or ".." in path.parts:
        report.problem(where, f"has the file_name {file_name!r}; it must lie below the folder of the images.")
    elif not is_file(root / path):
        report.problem(where, f"names {path}, but there is no such file.")
    else:
        return path.as_posix()
    return None


def is_file(path: Path) -> bool:
    """Whether there is such a file; no file has a name that is too long for its disk."""
    try:
        return path.is_file()
    except OSError:
        return False


def _note_unused(
    root: Path, folders: set[str], others: Iterable[str], images: Mapping[str, SourceImage], report: Report
) -> None:
    files = set(others) | {
        path.relative_to(root).as_posix()
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.suffix.lower() in IMAGE_ENDINGS
    }
    for file in sorted(files - images.keys()):
        report.note("image without annotation", file, "no annotation file lists it: not used.")
