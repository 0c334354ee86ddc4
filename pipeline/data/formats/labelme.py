"""LabelMe JSON: one file for each image, with shapes in pixels."""

import math
from base64 import b64decode
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np

from pipeline.core.errors import InputError
from pipeline.core.sections import SplitShares
from pipeline.data.formats.layout import Layout, gather, paired
from pipeline.data.formats.shapes import Corners, bounds_of_circle, bounds_of_points, is_number
from pipeline.data.formats.tree import Tree, read_json
from pipeline.data.masks import Mask, as_polygon, encode, read_values
from pipeline.data.report import Report
from pipeline.data.source import Source, SourceImage, SourceObject, is_text, watched

REGIONS = ("rectangle", "polygon", "circle", "mask", "oriented_rectangle")
Size = tuple[float, float]
MOST = 1 << 28  # pixels of an image
LINES = ("point", "points", "line", "linestrip")


def find(tree: Tree) -> Layout | None:
    """Find JSON files with ``shapes``, looking into one of those with the name of an image, or into all others.

    Raises:
        InputError: the file looked into is no JSON.
    """
    with_image = [file for file in tree.ending(".json") if tree.images_of(file)]
    if not with_image or "shapes" not in tree.json_shape(with_image[0]).keys:
        return None
    lost = [file for file in tree.apart(".json") if "shapes" in tree.json_shape(file).keys]
    why = f"{len(with_image)} JSON files with shapes, such as {with_image[0]}"
    return Layout(why, partial(_read, tree, [*with_image, *lost]))


def _read(tree: Tree, files: list[str], shares: SplitShares, seed: int, report: Report) -> Source:
    images = []
    pairs = paired(tree, files, report)
    for file, image in watched(pairs.items(), "reading annotations", "file", len(pairs)):
        try:
            images.append(_image(read_json(tree.root / file, file), file, image, report))
        except InputError as error:
            report.refuse(error)
    return gather(tree, images, tree.split_lists(report), shares, seed, report)


def _image(content: Any, file: str, image: str, report: Report) -> SourceImage:
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise InputError(f"{file}: has no list of mappings called 'shapes'.")
    sides = content.get("imageWidth"), content.get("imageHeight")
    size = (sides[0], sides[1]) if is_number(sides[0]) and is_number(sides[1]) else None
    return SourceImage(image, tuple(_objects(shapes, size, file, report)), size, file)


def _objects(shapes: list[dict], size: Size | None, file: str, report: Report) -> Iterator[SourceObject]:
    for i, shape in enumerate(shapes, 1):
        where, kind, name = f"{file}: shape {i}", shape.get("shape_type", "polygon"), shape.get("label")
        if not isinstance(name, str) or not is_text(name.strip()):
            report.problem(where, f"has {name!r} as 'label'; a text would be right.")
        elif kind in LINES:
            report.note("shape without area", where, f"a {kind} ({name}) encloses nothing: not used.")
        elif kind not in REGIONS:
            report.problem(where, f"has the shape_type {kind!r}; one of {', '.join(REGIONS)} would be right.")
        elif (corners := _corners(points := shape.get("points"), kind)) is None:
            report.problem(where, f"has {points!r} as 'points'; pairs [x, y], as many as a {kind} has, would be right.")
        else:
            try:
                corners, mask = _mask(shape, kind, corners, size, where)
            except InputError as error:
                report.refuse(error)
            else:
                yield SourceObject(name.strip(), corners, False, where, mask=mask)


def _corners(points: Any, kind: str) -> Corners | None:
    """Return the corners around a shape, None where ``points`` are not those of its kind."""
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) for point in points
    ):
        return None
    if not (len(points) >= 3 if kind == "polygon" else len(points) == (4 if kind == "oriented_rectangle" else 2)):
        return None
    if kind == "circle":  # its centre and a point on it
        (x, y), rim = points
        return bounds_of_circle(x, y, math.dist((x, y), rim))
    return bounds_of_points(points)


def _mask(shape: dict, kind: str, corners: Corners, size: Size | None, where: str) -> tuple[Corners, Mask | None]:
    """Return the corners and the mask of a shape; only polygons and shapes of the kind ``mask`` have one.

    A ``mask`` is a PNG in base64 whose first pixel is at the first point; the second point is that of its last pixel.

    Raises:
        InputError: the PNG cannot be decoded, or does not lie in the image.
    """
    if kind == "polygon":
        return corners, as_polygon(shape["points"])
    if kind != "mask" or shape.get("mask") is None or size is None:
        return corners, None
    try:
        png = BytesIO(b64decode(shape["mask"]))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: has a 'mask' that is not in base64 ({error}); a PNG in base64 would be right."
        ) from error
    part = read_values(png, f"{where}: mask") != 0
    (height, width), (x, y, *_) = part.shape, corners
    if not (0 <= x <= size[0] - width and 0 <= y <= size[1] - height and size[0] * size[1] < MOST):
        found = f"a 'mask' of {width} x {height} pixels at ({x:g}, {y:g}) in an image of {size[0]:g} x {size[1]:g}"
        raise InputError(f"{where}: has {found}; one inside of its image would be right.")
    left, top = int(x), int(y)
    pixels = np.zeros((int(size[1]), int(size[0])), np.bool_)
    pixels[top : top + height, left : left + width] = part
    return (left, top, left + width, top + height), encode(pixels)
