"""What share of the objects a window fits, and what the limits on boxes let through."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.boxes import iou
from pipeline.data.index import ImageRecord, Index
from pipeline.features.hog_pyramid import WindowShape, descriptor_of, level_sizes, window_boxes, window_places
from pipeline.linear.templates import components_of
from pipeline.linear.windows import LEAST_IOU, objects_of
from pipeline.reach import Reach, limit_reach
from pipeline.systems.hog_svm.params import HogSvm

if TYPE_CHECKING:
    from pipeline.params import Params


def window_reach(indices: Sequence[Index], section: HogSvm) -> Reach:
    """Return the share of the objects that a window of their class and aspect overlaps by `LEAST_IOU` or more."""
    window = section.window
    boxes, labels = objects_of(indices, section.difficult)
    components, assigned = components_of(boxes, labels, window.aspects, window.area, window.margin)
    shapes = [component.shape for component in components]
    reached, first = 0, 0
    for image in (image for index in indices for image in index.images):
        objects = image.boxes[image.trained(section.difficult)]
        own = [shapes[number] for number in assigned[first : first + len(objects)].tolist()]
        first += len(objects)
        for shape in set(own):
            which = np.array([each == shape for each in own])
            overlaps = iou(_windows(image, shape, section), objects[which])
            reached += int((overlaps.max(axis=0, initial=0) >= LEAST_IOU).sum())
    what = f"are overlapped by {LEAST_IOU} or more by a window of their class; others train nothing"
    advice = "a greater hog_svm.hog.finest for small objects, more octaves for large ones, or more aspects"
    return Reach(what, reached / max(1, len(boxes)) if len(boxes) else 1.0, "hog_svm.hog", advice)


def _windows(image: ImageRecord, shape: WindowShape, section: HogSvm) -> np.ndarray:
    _, factors, hw = level_sizes([(image.width, image.height)], section.hog)
    margin = section.window.margin
    places = window_places(hw, shape, descriptor_of(section.hog), margin)
    return window_boxes(places, factors, shape, margin)


def reach(params: "Params", indices: Sequence[Index]) -> list[Reach]:
    """Return the shares; see `pipeline.registry.System.reach`."""
    section = params.section(HogSvm)
    detect = section.detect
    return [
        window_reach(indices, section),
        *limit_reach(detect.max_per_class, detect.per_class_budget, indices, "hog_svm.detect"),
    ]
