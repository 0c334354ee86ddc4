"""Reading a dataset in the format of COCO: images in a folder, objects in one JSON file, or one per split."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.formats.tree import read_json
from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, SourceObject, complete, is_text
from pipeline.data.voc import IMAGE_ENDINGS

SECTIONS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class CocoPart:
    """One JSON file and the folder of its images, both below the data root; ``split`` is None for a whole dataset."""

    annotations: str
    images: str
    split: str | None


def read_coco(root: Path, parts: Sequence[CocoPart], shares: SplitShares, seed: int, report: Report) -> Source:
    """Read the parts of a dataset; their faults go into ``report``.

    Boxes become corners; category ids become names, so that files with different ids go together. Objects with
    ``iscrowd`` are crowds; these are to be ignored, and so are objects with ``ignore``, which the index of this project
    writes. `source.complete` makes the splits that no file gives.
    """
    images: dict[str, SourceImage] = {}
    lists: dict[str, list[str]] = {}
    for part in parts:
        try:
            read = _read_part(root, part, report)
        except InputError as error:
            report.problems.append(str(error))
            continue
        for image in read:
            if image.file in images:
                report.problem(image.where, f"names {image.file}, which another file, or another entry, names too.")
            images[image.file] = image
        lists.setdefault(part.split or "trainval", []).extend(image.file for image in read)
    _note_unused(root, {part.images for part in parts}, images, report)
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
    entry = _Entries(part.annotations, report)
    names = _categories(content["categories"], entry)
    images = _images(content["images"], entry)
    if not images:
        report.problem(part.annotations, "lists no image.")
    objects: dict[Any, list[SourceObject]] = defaultdict(list)
    for i, annotation in enumerate(content["annotations"]):
        where = f"{part.annotations}: annotation {annotation.get('id', f'number {i + 1}')}"
        if (item := _object(annotation, where, images, names, report)) is not None:
            objects[annotation["image_id"]].append(item)
    read = []
    for key, image in images.items():
        where = f"{part.annotations}: image {key}"
        if (file := _file(root, part.images, image["file_name"], where, report)) is not None:
            size = (image["width"], image["height"]) if {"width", "height"} <= image.keys() else None
            read.append(SourceImage(file, tuple(objects[key]), size, where))
    return read


@dataclass(frozen=True)
class _Entries:
    """Access to the entries of one file that reports what is missing."""

    file: str
    report: Report

    def keyed(self, entries: list[dict], kind: str, value: str) -> dict[Any, dict]:
        """Return the entries by ``id``; ids and the texts called ``value`` must be unique."""
        keyed: dict[Any, dict] = {}
        values: set[str] = set()
        for i, entry in enumerate(entries, 1):
            where = f"{self.file}: {kind} number {i}"
            key, text = entry.get("id"), entry.get(value)
            if not isinstance(key, int | str):
                self.report.problem(where, f"has {key!r} as 'id'; a number would be right.")
            elif not isinstance(text, str) or not is_text(text):
                self.report.problem(where, f"has {text!r} as {value!r}; a text would be right.")
            elif key in keyed:
                self.report.problem(where, f"has the id {key!r}, which another {kind} has too.")
            elif text in values:
                self.report.problem(where, f"has the {value} {text!r}, which another {kind} has too.")
            else:
                keyed[key] = entry
                values.add(text)
        return keyed


def _categories(entries: list[dict], entry: _Entries) -> dict[Any, str]:
    return {key: category["name"] for key, category in entry.keyed(entries, "category", "name").items()}


def _images(entries: list[dict], entry: _Entries) -> dict[Any, dict]:
    return entry.keyed(entries, "image", "file_name")


def _object(
    annotation: dict, where: str, images: Mapping[Any, dict], names: Mapping[Any, str], report: Report
) -> SourceObject | None:
    missing = [key for key in ("image_id", "category_id", "bbox") if key not in annotation]
    if missing:
        report.problem(where, f"has no {' and no '.join(map(repr, missing))}.")
        return None
    for key, known in (("image_id", images), ("category_id", names)):
        if not isinstance(annotation[key], int | str) or annotation[key] not in known:
            report.problem(where, f"has {key} {annotation[key]!r}, which no entry has as its id.")
            return None
    bbox = annotation["bbox"]
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(_is_number, bbox)):
        report.problem(where, f"has {bbox!r} as 'bbox'; four numbers [x, y, width, height] would be right.")
        return None
    x, y, width, height = map(float, bbox)
    crowd = bool(annotation.get("iscrowd", 0))
    ignore = crowd or bool(annotation.get("ignore", 0))
    return SourceObject(names[annotation["category_id"]], (x, y, x + width, y + height), ignore, where, crowd)


def _is_number(value: object) -> bool:
    """Whether a JSON value is a number that float64 holds; JSON has integers of any length."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _file(root: Path, folder: str, file_name: str, where: str, report: Report) -> str | None:
    """Return the path below the data root of an image, or None and a problem where there is no such file."""
    path = PurePosixPath(folder, file_name)
    if path.is_absolute() or ".." in path.parts:
        report.problem(where, f"has the file_name {file_name!r}; it must lie below the folder of the images.")
    elif not (root / path).is_file():
        report.problem(where, f"names {path}, but there is no such file.")
    else:
        return path.as_posix()
    return None


def _note_unused(root: Path, folders: set[str], images: Mapping[str, SourceImage], report: Report) -> None:
    files = {
        path.relative_to(root).as_posix()
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.suffix.lower() in IMAGE_ENDINGS
    }
    for file in sorted(files - images.keys()):
        report.note("image without annotation", file, "no annotation file lists it: not used.")
