"""What share of the objects a window of their class and aspect fits, for all that slides windows over a pyramid."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pipeline.core.boxes import iou
from pipeline.core.sections import Hog
from pipeline.data.index import ImageRecord, Index
from pipeline.features.hog_pyramid import WindowShape, descriptor_of, level_sizes, window_boxes, window_places
from pipeline.linear.templates import components_of
from pipeline.linear.windows import LEAST_IOU, objects_of
from pipeline.reach import Reach


class WindowSettings(Protocol):
    """What the sections about windows have in common; see `pipeline.linear.templates.components_of`."""

    aspects: int
    area: tuple[float, float]
    margin: int


def share_in_windows(
    indices: Sequence[Index], hog: Hog, window: WindowSettings, *, difficult: bool, title: str, key: str, first: int = 0
) -> Reach:
    """Return the share of the objects that a window of their class and aspect overlaps by `LEAST_IOU` or more.

    Args:
        indices: the images that train.
        hog: of the pyramids.
        window: what the windows hold.
        difficult: whether difficult objects train.
        title: of a window, in print.
        key: of ``hog``, for the advice.
        first: levels without windows, the finest ones.
    """
    boxes, labels = objects_of(indices, difficult)
    components, assigned = components_of(boxes, labels, window.aspects, window.area, window.margin)
    shapes = [component.shape for component in components]
    reached, start = 0, 0
    for image in (image for index in indices for image in index.images):
        objects = image.boxes[image.trained(difficult)]
        own = [shapes[number] for number in assigned[start : start + len(objects)].tolist()]
        start += len(objects)
        for shape in set(own):
            which = np.array([each == shape for each in own])
            overlaps = iou(_windows(image, shape, hog, window.margin, first), objects[which])
            reached += int((overlaps.max(axis=0, initial=0) >= LEAST_IOU).sum())
    what = f"are overlapped by {LEAST_IOU} or more by a {title} of their class; others train nothing"
    advice = f"a greater {key}.finest for small objects, more octaves for large ones, or more aspects"
    return Reach(what, reached / max(1, len(boxes)) if len(boxes) else 1.0, key, advice)


def _windows(image: ImageRecord, shape: WindowShape, hog: Hog, margin: int, first: int) -> np.ndarray:
    _, factors, hw = level_sizes([(image.width, image.height)], hog)
    places = window_places(hw[first:], shape, descriptor_of(hog), margin)
    return window_boxes(places, factors[first:], shape, margin)
