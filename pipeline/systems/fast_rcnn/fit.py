"""Image sizes at which the objects of a dataset span enough cells of the map."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.data.index import Index
from pipeline.fitting import CELLS, SMALL, Fitted, Objects, enlargement, side_of
from pipeline.imaging import scale_factor
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.systems.fast_rcnn.params import FastRcnn, ImageSize

if TYPE_CHECKING:
    from pipeline.params import Params


def fit(params: "Params", indices: Sequence[Index]) -> list[Fitted]:
    """Return the values; see `pipeline.registry.System.fit`."""
    section = params.section(FastRcnn)
    return fit_size(section.image, section.backbone, Objects.of(indices, section.train.difficult), "fast_rcnn.image")


def fit_size(size: ImageSize, network: str, objects: Objects, key: str) -> list[Fitted]:
    """Return larger sides for the section ``key`` where small objects span too few cells at the first short side."""
    stride = Geometry.from_architecture(architecture(network)).stride
    sides = side_of(objects.boxes) * factors(objects, size)
    small, factor = enlargement(sides, stride)
    if factor == 1:
        return []
    shorts = [round(factor * short) for short in size.short_sides]
    reason = (
        f"{SMALL:.0%} of the objects are smaller than {small:.0f} pixels in an image of {size.short_sides[0]}; they "
        f"should span {CELLS} cells of {stride}, at {factor:.2f} times the sides"
    )
    return [
        Fitted(f"{key}.short_sides", shorts, reason),
        Fitted(f"{key}.long_side", round(factor * size.long_side), "as many times the present one"),
    ]


def factors(objects: Objects, size: ImageSize) -> np.ndarray:
    """Return by how much each object's image is resized at the first short side, ``(N,)`` float32."""
    short, longest = size.short_sides[0], size.long_side
    return np.array(
        [scale_factor(width, height, short, longest) for width, height in objects.images.astype(int).tolist()],
        np.float32,
    )
