"""VIA JSON (VGG Image Annotator): regions of many images in pixels; a project or exported annotations."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.formats.layout import Layout, gather
from pipeline.data.formats.shapes import Corners, bounds_of_circle, bounds_of_points, is_number
from pipeline.data.formats.tree import Listed, Tree, read_json, split_of
from pipeline.data.masks import as_polygon
from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, SourceObject, is_text, watched

PROJECT = "_via_img_metadata"
ENTRY = {"filename", "regions"}
CLASS_NAMES = ("class", "label", "name", "type", "category", "object", "object_name")
LINES = ("point", "polyline", "line")
NEEDED = {
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "polygon": ("all_points_x", "all_points_y"),
}


def find(tree: Tree) -> Layout | None:
    """Find projects, or exported files whose first entry has a file name and regions.

    Raises:
        InputError: a JSON file cannot be read.
    """
    shapes = {file: tree.json_shape(file) for file in tree.apart(".json")}
    files = [file for file, shape in shapes.items() if PROJECT in shape.keys or shape.inner >= ENTRY]
    return Layout(f"{' and '.join(files)}, with regions", partial(_read, tree, files)) if files else None


def _read(tree: Tree, files: list[str], shares: SplitShares, seed: int, report: Report) -> Source:
    images: list[SourceImage] = []
    lists: Listed = {}
    for file in files:
        try:
            read = list(_images(tree, file, report))
        except InputError as error:
            report.refuse(error)
            continue
        images += read
        if split := split_of(file.removesuffix(".json")):
            lists.setdefault(split, {}).update((image.file, image.where) for image in read)
    return gather(tree, images, lists or tree.split_lists(report), shares, seed, report)


def _images(tree: Tree, file: str, report: Report) -> Iterator[SourceImage]:
    content = read_json(tree.root / file, file)
    entries = content.get(PROJECT, content)
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise InputError(f"{file}: {PROJECT} is no mapping of images to mappings, as VIA writes it.")
    read = []
    for key, entry in watched(entries.items(), "reading annotations", "image", len(entries)):
        where, name = f"{file}: image {key}", entry.get("filename")
        image = tree.image_named(name, file) if isinstance(name, str) else None
        regions = entry.get("regions")
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if image is None:
            report.problem(where, f"has the filename {name!r}, which is not the path or the name of one image.")
        elif not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            report.problem(where, "has no list of mappings called 'regions'.")
        else:
            read.append((where, image, regions))
    attribute = _class_attribute([region for _, _, regions in read for region in regions], file)
    for where, image, regions in read:
        yield SourceImage(image, tuple(_objects(regions, attribute, where, report)), None, where)


def _class_attribute(regions: list[dict], file: str) -> str:
    """Return the region attribute that holds the class: the only one, or one with a usual name."""
    found: dict[str, None] = {}
    for region in regions:
        attributes = region.get("region_attributes")
        found |= dict.fromkeys(attributes if isinstance(attributes, dict) else ())
    usual = [name for name in found if name.lower() in CLASS_NAMES]
    chosen = list(found) if len(found) == 1 else usual
    if len(chosen) != 1 and regions:
        listed = ", ".join(map(repr, found)) or "none"
        raise InputError(
            f"{file}: the class must be the only region attribute, or the only one of {', '.join(CLASS_NAMES)}; found: "
            f"{listed}."
        )
    return chosen[0] if chosen else ""


def _objects(regions: list[dict], attribute: str, image: str, report: Report) -> Iterator[SourceObject]:
    for i, region in enumerate(regions, 1):
        where, shape = f"{image}: region {i}", region.get("shape_attributes")
        shape = shape if isinstance(shape, dict) else {}
        attributes, kind = region.get("region_attributes"), shape.get("name")
        name = _chosen(attributes.get(attribute) if isinstance(attributes, dict) else None)
        if not isinstance(name, str) or not is_text(name.strip()):
            report.problem(where, f"has {name!r} as {attribute!r}; the name of one class would be right.")
        elif kind in LINES:
            report.note("shape without area", where, f"a {kind} ({name}) encloses nothing: not used.")
        elif kind not in tuple(NEEDED):  # a JSON value, perhaps a list
            report.problem(where, f"has the shape {kind!r}; one of {', '.join(NEEDED)} would be right.")
        elif (corners := _corners(kind, [shape.get(key) for key in NEEDED[kind]])) is None:
            report.problem(where, f"is a {kind} of {shape!r}; numbers as {', '.join(NEEDED[kind])} would be right.")
        else:
            xs_and_ys = [shape[key] for key in NEEDED["polygon"]] if kind == "polygon" else None
            mask = as_polygon(np.transpose(xs_and_ys)) if xs_and_ys else None
            yield SourceObject(name.strip(), corners, False, where, mask=mask)


def _chosen(value: Any) -> Any:
    """Return the value of an attribute; of check boxes the only one that is set."""
    if not isinstance(value, dict):
        return value
    chosen = [name for name, is_set in value.items() if is_set]
    return chosen[0] if len(chosen) == 1 else value


def _corners(kind: str, values: list[Any]) -> Corners | None:
    """Return the corners around a shape, None where its values are not numbers."""
    if kind == "polygon":
        xs, ys = values
        whole = isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys) >= 3
        return bounds_of_points(list(zip(xs, ys, strict=True))) if whole and all(map(is_number, xs + ys)) else None
    if not all(map(is_number, values)):
        return None
    if kind == "circle":
        return bounds_of_circle(*values)
    x, y, a, b = map(float, values)
    return (x, y, x + a, y + b) if kind == "rect" else (x - a, y - b, x + a, y + b)
