"""Region proposals for one image: two engines of selective search, one filter, one order.

``selectivesearch`` does one segmentation in one colour treatment; the union over several scales makes up for the
papers' several strategies. ``opencv`` is OpenCV's ximgproc, set up strategy by strategy: its own fast mode uses
k = 150, 300 and 450, the paper's k = 50 and 100 with a minimum segment size of k, in HSV and Lab, with colour +
texture + size + fill and with texture + size + fill (Uijlings et al., IJCV 2013, section 5.3).

The papers' wrapper draws the order of the boxes at random, weighted by the position in the merge hierarchy. Here the
order follows from the set of boxes alone, so it repeats, in whatever order an engine returns them.
Measured on 100 VOC2012 photographs (OpenCV engine, recall at 0.5 within 500 boxes): random draw 0.86, by area alone
0.77, this order 0.90; within 300 boxes on 40 images full of touching blood cells: 0.59, 0.21, 0.80.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, as_boxes, clip, from_xywh
from pipeline.core.runtime import opencv
from pipeline.core.sections import OpenCV, Proposals, SelectiveSearch
from pipeline.proposals import grouping

# The engines are imported where they run: scikit-image, below the one, takes a second.

# Sides that differ by less than about this factor share a cell of `rank`.
STEP = 1.5

# The boxes of the first image, once it is searched, while `one_search` holds.
_first: ContextVar[list[Boxes] | None] = ContextVar("first", default=None)


@contextmanager
def one_search() -> Iterator[None]:
    """Let `propose` search the first image alone and return its boxes for all that follow: altered copies of it."""
    token = _first.set([])
    try:
        yield
    finally:
        _first.reset(token)


def propose(image: NDArray[np.uint8], settings: Proposals) -> Boxes:
    """Return at most ``settings.max_per_image`` distinct boxes inside the image, ``(N, 4)``, best first.

    The same image and settings give the same bytes, but within `one_search`. Where the image is searched, both sides of
    a box are at least ``settings.min_side`` pixels; a flat or tiny image may have no box, ``(0, 4)``.

    Args:
        image: ``(H, W, 3)`` uint8, RGB; grey content is fine.
        settings: engine, number, filter.
    """
    first = _first.get()
    if first is None:
        return _search(image, settings)
    if not first:
        first.append(_search(image, settings))
    return first[0]


def _search(image: NDArray[np.uint8], settings: Proposals) -> Boxes:
    searched = _reduced(image, settings.max_width)
    if settings.engine == "opencv":
        found = search_opencv(searched, settings.opencv)
    else:
        found = search_package(searched, settings.selectivesearch)
    (height, width), (searched_height, searched_width) = image.shape[:2], searched.shape[:2]
    boxes = clip(found, searched_width, searched_height)
    large_enough = ((boxes[:, 2:] - boxes[:, :2]) >= max(1, settings.min_side)).all(axis=1)
    scale = np.array([width / searched_width, height / searched_height] * 2, np.float32)
    return rank(boxes[large_enough])[: settings.max_per_image] * scale


def _reduced(image: NDArray[np.uint8], max_width: int | None) -> NDArray[np.uint8]:
    """Return ``image`` no wider than ``max_width`` (``im_width`` in ``rcnn: selective_search_boxes.m``).

    That code enlarges narrower images, too, and resizes by Matlab's bicubic filter; this one averages.
    """
    import cv2

    height, width = image.shape[:2]
    if max_width is None or width <= max_width:
        return image
    size = (max_width, max(1, round(height * max_width / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def search_package(image: NDArray[np.uint8], settings: SelectiveSearch) -> Boxes:
    """Return the boxes that the ``selectivesearch`` package finds at all scales, unordered and with duplicates.

    The smallest segment has as many pixels as the scale, as in the papers' wrapper.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        settings: scales and smoothing of the graph segmentation.

    Returns:
        ``(N, 4)`` float32.
    """
    corners = np.concatenate(grouping.search(image, settings.scales, settings.sigma))
    return as_boxes(corners + np.array([0, 0, 1, 1]))


def search_opencv(image: NDArray[np.uint8], settings: OpenCV) -> Boxes:
    """Return the boxes that OpenCV finds in all hierarchies, unordered and with duplicates.

    The set of boxes repeats from run to run; OpenCV's order does not, as it draws from C's ``rand()``.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        settings: colour spaces, k values and similarity sums; every combination gives one hierarchy.

    Returns:
        ``(N, 4)`` float32.
    """
    opencv()  # images, not pixels, are spread over the cores
    return np.concatenate([as_boxes(np.zeros((0, 4))), *(from_xywh(rects) for rects in _hierarchies(image, settings))])


def _hierarchies(image: NDArray[np.uint8], settings: OpenCV) -> Iterator[NDArray[np.int32]]:
    import cv2

    conversions = {
        "hsv": cv2.COLOR_RGB2HSV,
        "lab": cv2.COLOR_RGB2Lab,
        "rgb": cv2.COLOR_RGB2BGR,
        "grey": cv2.COLOR_RGB2GRAY,
    }
    for colour in settings.colours:
        converted = cv2.cvtColor(image, conversions[colour])
        for k in settings.k:
            yield _selective_search(converted, k, settings).process()


def _selective_search(image: NDArray[np.uint8], k: float, settings: OpenCV) -> Any:
    """Set up one graph segmentation and, on it, one hierarchy for each sum of similarities.

    The sums share their terms, as those of OpenCV's fast mode do: a term describes the segments once.
    """
    from cv2.ximgproc import segmentation

    terms = {
        "c": segmentation.createSelectiveSearchSegmentationStrategyColor(),
        "t": segmentation.createSelectiveSearchSegmentationStrategyTexture(),
        "s": segmentation.createSelectiveSearchSegmentationStrategySize(),
        "f": segmentation.createSelectiveSearchSegmentationStrategyFill(),
    }
    graph = segmentation.createGraphSegmentation(settings.sigma, k, max(1, round(k)))
    search = segmentation.createSelectiveSearchSegmentation()
    search.addImage(image)
    search.addGraphSegmentation(graph)
    for letters in settings.similarities:
        similarity = segmentation.createSelectiveSearchSegmentationStrategyMultiple()
        for letter in letters:
            similarity.addStrategy(terms[letter], 1 / len(letters))
        search.addStrategy(similarity)
    return search


def rank(boxes: Boxes) -> Boxes:
    """Return the distinct ``boxes`` (N, 4), best first; the order of the input does not matter.

    Each box falls into a cell of similar boxes. The largest of every cell come first, by falling area, then the
    second of every cell, and so on. All sides must be positive.
    """
    distinct = np.unique(as_boxes(boxes), axis=0)
    ordered = distinct[np.argsort(-area(distinct), kind="stable")]
    return ordered[np.argsort(_position_within(_cells(ordered)), kind="stable")]


def _cells(boxes: Boxes) -> NDArray[np.int64]:
    """Return a number per box; equal ones mean the same size class in both directions and nearly the same centre."""
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    size_class = np.rint(np.log(sides) / np.log(STEP))
    pitch = (STEP - 1) * STEP**size_class
    centre = np.rint((boxes[:, :2] + boxes[:, 2:]) / 2 / pitch)
    keys = np.concatenate([size_class, centre], axis=1).astype(np.int64)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def _position_within(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each item how many earlier items lie in its cell."""
    grouped = np.argsort(cells, kind="stable")
    first = np.searchsorted(cells[grouped], cells[grouped])
    position = np.empty(len(cells), np.int64)
    position[grouped] = np.arange(len(cells)) - first
    return position
