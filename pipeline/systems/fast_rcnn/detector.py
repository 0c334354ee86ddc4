"""Scores and boxes of the regions of one image (Fast R-CNN, section 2.4).

From scored regions to detections: the two published protocols, which give different ends of the curves.

Fast R-CNN at test: one image among its proposals, and one pass over the images of a split.

Fast R-CNN on pictures: proposals, one map, RoI pooling, scores and boxes at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, as_boxes, clip, decode, nms
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.runtime import progress
from pipeline.core.sections import Proposals
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.detector import Description, Found, Image, Picture, opened, read_description
from pipeline.evaluation.detections import Detections, LeastScores, above_least, within_budget
from pipeline.imaging import pad, pixels, scale_factor
from pipeline.proposals.engines import propose
from pipeline.systems.fast_rcnn.network import FastRcnn, to_cells
from pipeline.systems.fast_rcnn.params import FastDetection, RegionScoring

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


def postprocess(images: Iterable[tuple[int, ScoredRegions]], settings: RegionScoring) -> tuple[Detections, LeastScores]:
    """Return the detections in ``images``, pairs of an image's id and its scored regions, and the limits of the budget.

    ``budget`` (``lib/fast_rcnn/test.py`` of Fast R-CNN): the ``max_per_class`` best regions of each class and image,
    of those the ``per_class_budget`` times images best of each class, then suppression. ``threshold`` (the same file of
    py-faster-rcnn): regions above ``min_score``, suppression, then the ``max_per_image`` best of all classes. A class
    with a score of minus infinity is never detected.
    """
    found = [_of_image(image_id, regions, settings) for image_id, regions in images]
    detections = Detections.join(found)
    if settings.protocol == "threshold":
        return detections, {}
    kept, least = within_budget(detections.labels, detections.scores, settings.per_class_budget * len(found))
    return _suppressed(detections.take(kept), settings.nms), least


def postprocess_one(regions: ScoredRegions, settings: RegionScoring, least: LeastScores) -> Detections:
    """Return the detections in one image, whose id is given as 0; the limits ``least`` stand for the budget."""
    found = _of_image(0, regions, settings)
    if settings.protocol == "threshold":
        return found
    return _suppressed(found.take(above_least(found.labels, found.scores, least)), settings.nms)


def _of_image(image_id: int, regions: ScoredRegions, settings: RegionScoring) -> Detections:
    chosen = _best if settings.protocol == "budget" else _above
    return chosen(image_id, regions, settings)


def _best(image_id: int, regions: ScoredRegions, settings: RegionScoring) -> Detections:
    parts = []
    for column in range(regions.scores.shape[1]):
        rows = np.flatnonzero(np.isfinite(regions.scores[:, column]))
        best = rows[np.argsort(-regions.scores[rows, column], kind="stable")[: settings.max_per_class]]
        parts.append(_of_class(image_id, regions, column, best))
    return Detections.join(parts)


def _above(image_id: int, regions: ScoredRegions, settings: RegionScoring) -> Detections:
    parts = []
    for column in range(regions.scores.shape[1]):
        rows = np.flatnonzero(regions.scores[:, column] > settings.min_score)
        kept = nms(regions.boxes[rows, column], regions.scores[rows, column], settings.nms)
        parts.append(_of_class(image_id, regions, column, rows[kept]))
    found = Detections.join(parts)
    return found.take(np.argsort(-found.scores, kind="stable")[: settings.max_per_image])


def _of_class(image_id: int, regions: ScoredRegions, column: int, rows: NDArray[np.int64]) -> Detections:
    return Detections(
        np.full(len(rows), image_id, np.int64),
        np.full(len(rows), column + 1, np.int64),
        regions.boxes[rows, column],
        regions.scores[rows, column],
    )


def _suppressed(detections: Detections, threshold: float) -> Detections:
    """Suppress within each image and class; both stand together, as `_best` put them."""
    keys = np.stack([detections.image_ids, detections.labels], axis=1)
    edges = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
    kept = [
        own[nms(detections.boxes[own], detections.scores[own], threshold)]
        for own in np.split(np.arange(len(detections)), edges)
    ]
    return detections.take(np.concatenate(kept))


def load_network(folder: Path, compressed: bool) -> FastRcnn:
    """Read the network that is tested from the models in ``folder``: as it was trained, or with a truncated SVD."""
    if compressed:
        return FastRcnn.load(folder / "compressed.safetensors", "fast_rcnn_svd")
    return FastRcnn.load(folder / "detector.safetensors", "fast_rcnn_classifier")


def score_image(
    network: FastRcnn,
    image: NDArray[np.uint8],
    boxes: Boxes,
    regress: bool,
    device: torch.device,
    clock: Clock = NULL_CLOCK,
) -> ScoredRegions:
    """Score ``boxes`` (R, 4), which may be none, of ``image`` (H, W, 3); ``network`` is on ``device``."""
    with clock.phase("convolution"):
        maps, factors = image_maps(network, image, device)
    return score_regions(network, maps, factors, boxes, image.shape[1], image.shape[0], regress, clock)


def detect(
    network: FastRcnn,
    records: Sequence[ImageRecord],
    proposals: Sequence[Boxes],
    root: Path,
    settings: RegionScoring,
    device: torch.device,
) -> tuple[Detections, LeastScores]:
    """Detect in the images ``records``, files below ``root``, among their ``proposals``; see `postprocess`."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scored() -> Iterator[tuple[int, ScoredRegions]]:
        for record, boxes in zip(progress(records, "detecting"), proposals, strict=True):
            image = read_image(root / record.file)
            yield record.id, score_image(network, image, boxes, settings.box_regression, device)

    return postprocess(scored(), settings)


class FastRcnnDetector:
    """A `Detector`: the network that the settings choose, plain or with fewer values in fc6 and fc7."""

    system = "fast_rcnn"
    batched = False

    def __init__(self, description: Description, network: FastRcnn, device: torch.device) -> None:
        self.classes, self._least = description.classes, description.least
        self._proposals = description.section("proposals", Proposals)
        self._settings = description.section("detect", FastDetection)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    @classmethod
    def load(cls, models: Path, device: torch.device) -> "FastRcnnDetector":
        """Read what the stages left below ``models``."""
        folder = models / cls.system
        description = read_description(folder, cls.system)
        return cls(description, load_network(folder, description.section("detect", FastDetection).compressed), device)

    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image."""
        return [self._detect_one(opened(image, clock), clock) for image in images]

    def _detect_one(self, image: Image, clock: Clock) -> Found:
        with clock.phase("proposals"):
            boxes = propose(image, self._proposals)
        regions = score_image(self._network, image, boxes, self._settings.box_regression, self._device, clock)
        with clock.phase("suppression"):
            return Found.of(postprocess_one(regions, self._settings, self._least))
