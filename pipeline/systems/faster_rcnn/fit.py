"""Anchors that overlap the objects of a dataset, and image sizes at which these span enough cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import Index
from pipeline.fitting import Fitted, Objects, Seen, Values, better, quantiles, raised_room, to_nearest
from pipeline.imaging import resized_shape
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.systems.fast_rcnn.fit import factors, fit_size
from pipeline.systems.fast_rcnn.params import ImageSize
from pipeline.systems.faster_rcnn.network import reference_anchors
from pipeline.systems.faster_rcnn.params import Anchors, FasterRcnn

if TYPE_CHECKING:
    from pipeline.params import Params

KEY = "faster_rcnn"


def fit(params: "Params", indices: Sequence[Index]) -> list[Fitted]:
    """Return the values; see `pipeline.registry.System.fit`."""
    section = params.section(FasterRcnn)
    objects = Objects.of(indices, section.rpn.difficult)
    larger = fit_size(section.image, section.backbone, objects, f"{KEY}.image")
    size = section.image.model_copy(update={each.key.rpartition(".")[2]: each.value for each in larger})
    geometry = Geometry.from_architecture(architecture(section.backbone))
    detect = section.detect
    return [
        *larger,
        *fit_anchors(
            section.anchors,
            see(objects.sample(), size, geometry),
            geometry.stride,
            size.short_sides[0],
            section.rpn.positive_iou,
        ),
        *(
            raised_room(detect.max_per_image, indices, f"{KEY}.detect.max_per_image")
            if detect.protocol == "threshold"
            else []
        ),
    ]


def see(objects: Objects, size: ImageSize, geometry: Geometry) -> Seen:
    """Return the objects as the cells of the map see them, images resized to the first short side."""
    factor = factors(objects, size)[:, None]
    boxes = objects.boxes * factor
    shapes = [
        resized_shape(width, height, each)
        for (width, height), each in zip(objects.images.astype(int).tolist(), factor[:, 0].tolist(), strict=True)
    ]
    smallest = geometry.smallest()
    cells = [(geometry.size(max(smallest, w)), geometry.size(max(smallest, h))) for h, w in shapes]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    away = to_nearest(centres, geometry.offset, geometry.stride, np.array(cells, np.int64).reshape(-1, 2))
    return Seen(boxes[:, 2:] - boxes[:, :2], away[:, None], objects.weights)


def fit_anchors(present: Anchors, seen: Seen, stride: int, short: int, trains: float) -> list[Fitted]:
    """Return as many sides and ratios as at present that overlap the objects better; none where there are none.

    Anchors that cross the border count: what ``drop_crossing`` costs is no matter of their shape.
    """
    count = len(present.sides)

    def rounded(values: Values) -> Values:
        sides, ratios = np.split(values, [count])
        return np.concatenate([np.sort(np.rint(sides)), np.sort(np.round(ratios, 2))])

    def shapes_of(values: Values) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        anchors = reference_anchors(stride, values[:count].tolist(), values[count:].tolist())
        return anchors[:, 2:] - anchors[:, :2], np.zeros(len(anchors), np.int64)

    width, height = seen.sizes.T
    spread = [*quantiles(np.sqrt(width * height), count), *quantiles(height / width, len(present.ratios))]
    now = np.array([*present.sides, *present.ratios])
    said = f"at short side {short}; the best anchor"
    fitted = better(now, np.array(spread), rounded, shapes_of, seen, trains, said)
    if fitted is None:
        return []
    found, reason = fitted
    return [
        Fitted(f"{KEY}.anchors.sides", found[:count].astype(int).tolist(), reason),
        Fitted(f"{KEY}.anchors.ratios", found[count:].tolist(), "as the sides"),
    ]
