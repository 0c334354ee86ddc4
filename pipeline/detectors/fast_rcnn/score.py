"""Scores and boxes of the regions of one image (Fast R-CNN, section 2.4)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.boxes import Boxes, area, as_boxes, clip, decode
from pipeline.clock import NULL_CLOCK, Clock
from pipeline.detectors.fast_rcnn.cells import to_cells
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.imaging.image_batches import pad, pixels
from pipeline.imaging.resize import scale_factor

# A region belongs to the scale that brings its area nearest to this side squared (SPP-net, section 4.1).
CANONICAL_SIDE = 224


@dataclass(frozen=True)
class ScoredRegions:
    """What the network says of the regions of an image.

    Attributes:
        scores: ``(R, classes)`` float32, without the background.
        boxes: ``(R, classes, 4)`` float32, one box a class, inside the image.
    """

    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]


@torch.inference_mode()
def image_maps(network: FastRcnn, image: NDArray[np.uint8], device: torch.device) -> tuple[torch.Tensor, list[float]]:
    """Return the maps ``(scales, channels, rows, columns)`` of ``image`` (H, W, 3) and the factor of each scale."""
    shape, (height, width) = network.shape, image.shape[:2]
    factors = [scale_factor(width, height, short, shape.long_side) for short in shape.short_sides]
    return network.conv(pad([pixels(image, factor) for factor in factors], device)), factors


def region_cells(network: FastRcnn, boxes: Boxes, factors: list[float]) -> NDArray[np.float32]:
    """Return ``(R, 5)``: the scale of each of ``boxes`` (R, 4) and its first and last cell there."""
    sides = np.sqrt(area(boxes))[:, None] * np.array(factors)
    levels = np.abs(sides**2 - CANONICAL_SIDE**2).argmin(axis=1)
    cells = np.zeros((len(boxes), 5), np.float32)
    cells[:, 0] = levels
    for level, factor in enumerate(factors):
        cells[levels == level, 1:] = to_cells(boxes[levels == level], factor, network.geometry)
    return cells


@torch.inference_mode()
def score_regions(
    network: FastRcnn,
    maps: torch.Tensor,
    factors: list[float],
    boxes: Boxes,
    width: int,
    height: int,
    regress: bool,
    clock: Clock = NULL_CLOCK,
) -> ScoredRegions:
    """Score ``boxes`` (R, 4), which may be none, on the maps of their image.

    Regions that fall on the same cells are computed once (``lib/fast_rcnn/test.py``). Boxes are moved by the offsets of
    each class where ``regress`` says so, and clipped. ``clock`` times ``pooling``, ``heads`` and ``suppression``, which
    holds the decoding.
    """
    classes = network.shape.classes
    if not len(boxes):
        return ScoredRegions(np.zeros((0, classes), np.float32), np.zeros((0, classes, 4), np.float32))
    with clock.phase("pooling"):
        cells, copies = np.unique(region_cells(network, boxes, factors), axis=0, return_inverse=True)
        pooled = network.pool(maps, torch.from_numpy(cells).to(maps.device))
    with clock.phase("heads"):
        scores, offsets = network.classify(pooled)
        if not network.shape.svm:
            scores = scores.softmax(1)
    with clock.phase("suppression"):
        own = scores[:, 1:].cpu().numpy()[copies.reshape(-1)]
        moved = np.repeat(boxes, classes, axis=0)
        if regress:
            moved = as_boxes(decode(moved, offsets[:, 1:].cpu().numpy()[copies.reshape(-1)].reshape(-1, 4)))
        return ScoredRegions(own, clip(moved, width, height).reshape(-1, classes, 4))
