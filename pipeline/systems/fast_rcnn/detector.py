"""Fast R-CNN as a detector: one map an image, RoI pooling, scores and boxes of all regions at once (section 2.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, as_boxes, clip, decode
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.sections import Proposals
from pipeline.data.index import Index
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.evaluation.detections import Detections
from pipeline.imaging import pad, pixels, scale_factor
from pipeline.limits import Limits, class_limits
from pipeline.nets.backbones import channels_last
from pipeline.proposals.engines import propose
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn import params as sections
from pipeline.systems.fast_rcnn.network import FastRcnn, to_cells
from pipeline.systems.fast_rcnn.params import FastDetection, RegionScoring
from pipeline.systems.indices import load_indices
from pipeline.whole_images import WholeImages

if TYPE_CHECKING:
    from pipeline.params import Params

STAGES = "systems/fast_rcnn/dvc.yaml"
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
    seen = [pixels(image, factor) for factor in factors]
    return network.conv(pad(seen, device, network.geometry.smallest())), factors


def region_cells(network: FastRcnn, boxes: Boxes, factors: list[float], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return ``(R, 5)``: the scale of each of ``boxes`` (R, 4) of an image of ``size``, and its cells (`to_cells`)."""
    sides = np.sqrt(area(boxes))[:, None] * np.array(factors)
    levels = np.abs(sides**2 - CANONICAL_SIDE**2).argmin(axis=1)
    cells = np.zeros((len(boxes), 5), np.float32)
    cells[:, 0] = levels
    for level, factor in enumerate(factors):
        cells[levels == level, 1:] = to_cells(boxes[levels == level], factor, network.geometry, size)
    return cells


@torch.inference_mode()
def score_regions(
    networks: Sequence[FastRcnn],
    maps: torch.Tensor,
    factors: list[float],
    boxes: Boxes,
    width: int,
    height: int,
    regress: bool,
    clock: Clock = NULL_CLOCK,
) -> list[ScoredRegions]:
    """Score ``boxes`` (R, 4), which may be none, with each of ``networks`` that share their convolutions.

    Regions that fall on the same cells are computed once, and all get the box of the first of them, the best proposal
    (``lib/fast_rcnn/test.py``). Boxes are moved by the offsets of each class where ``regress`` says so, and clipped.
    ``clock`` times ``pooling``, ``heads`` and ``suppression``, which
    holds the decoding.
    """
    classes = networks[0].shape.classes
    if not len(boxes):
        none = ScoredRegions(np.zeros((0, classes), np.float32), np.zeros((0, classes, 4), np.float32))
        return [none] * len(networks)
    with clock.phase("pooling"):
        every = region_cells(networks[0], boxes, factors, (width, height))
        cells, first, copies = np.unique(every, axis=0, return_index=True, return_inverse=True)
        pooled = networks[0].pool(maps, torch.from_numpy(cells).to(maps.device))
    scored = [_score_pooled(each, pooled, boxes[first], width, height, regress, clock) for each in networks]
    return [ScoredRegions(each.scores[copies.reshape(-1)], each.boxes[copies.reshape(-1)]) for each in scored]


def _score_pooled(
    network: FastRcnn,
    pooled: torch.Tensor,
    boxes: Boxes,
    width: int,
    height: int,
    regress: bool,
    clock: Clock,
) -> ScoredRegions:
    """Score ``boxes`` (R, 4), which were ``pooled``."""
    classes = network.shape.classes
    with clock.phase("heads"):
        scores, offsets = network.classify(pooled)
        if not network.shape.svm:
            scores = scores.softmax(1)
    with clock.phase("suppression"):
        moved = np.repeat(boxes, classes, axis=0)
        if regress:
            moved = as_boxes(decode(moved, offsets[:, 1:].cpu().numpy().reshape(-1, 4)))
        return ScoredRegions(scores[:, 1:].cpu().numpy(), clip(moved, width, height).reshape(-1, classes, 4))


def limits_of(scoring: RegionScoring, indices: Sequence[Index], key: str) -> dict[str, Limits]:
    """Return the setting ``limits`` that a `RegionDetector` with the protocol ``budget`` needs; none for the other.

    The arguments are those of `pipeline.limits.class_limits`.
    """
    if scoring.protocol == "threshold":
        return {}
    return {"limits": class_limits(scoring.max_per_class, scoring.per_class_budget, indices, key)}


class RegionDetector(Detector):
    """What Fast and Faster R-CNN share: from scored regions to detections, by one of two published protocols.

    ``budget`` (``lib/fast_rcnn/test.py`` of Fast R-CNN): the ``max_per_class`` best regions of each class and image, of
    these the ``per_class_budget`` times images best of each class, then suppression. ``threshold`` (the same file of
    py-faster-rcnn): regions above ``min_score``, suppression, then the ``max_per_image`` best of all classes. The two
    give different ends of the precision-recall curves. A class with a score of minus infinity is never detected.
    """

    def __init__(self, description: Description, settings: RegionScoring) -> None:
        super().__init__(description)
        self._scoring = settings
        if settings.protocol == "budget":
            self._limits = description.section("limits", Limits)
            self.detection_limits = self._limits.on_average

    def choose(self, regions: ScoredRegions) -> Candidates:
        """Return the candidates among the regions of one image.

        A box that its offsets pushed out of the image has no area and is none; the official codes report it as a line
        of pixels at the border.
        """
        by_score = self._scoring.protocol == "threshold"
        candidates = Candidates.above(self._scoring.min_score if by_score else None, regions.boxes, regions.scores)
        candidates = candidates.take(area(candidates.boxes) > 0)
        return candidates if by_score else candidates.limit_by_class(self._limits.in_image)

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the detections of one image: suppression, with ``threshold`` the limit of the image."""
        with clock.phase("suppression"):
            kept = candidates.suppress(self._scoring.nms)
            if self._scoring.protocol == "threshold":
                kept = kept.limit(self._scoring.max_per_image)
            return kept.detections()


class FastRcnnDetector(RegionDetector):
    """Fast R-CNN among proposals of the engine or, in a split, among those that its proposals file holds.

    Args:
        description: with the settings ``detect``, ``limits`` (protocol ``budget``) and, without ``proposals``, those of
            the engine, ``proposals``.
        network: see `load_network`.
        device: where it computes.
        proposals: of the split.
        others: networks with the same convolutions, for `candidates_of_each`.
    """

    def __init__(
        self,
        description: Description,
        network: FastRcnn,
        device: torch.device,
        proposals: ProposalSet | None = None,
        others: Sequence[FastRcnn] = (),
    ) -> None:
        self._settings = description.section("detect", FastDetection)
        super().__init__(description, self._settings)
        self._networks = [channels_last(each, device) for each in (network, *others)]
        self.whole_images = WholeImages.resized(network, network.shape.short_sides, network.shape.long_side)
        self._device, self._proposals = device, proposals

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the candidates of each picture."""
        return [self.candidates_of_each(picture, clock)[0] for picture in pictures]

    def candidates_of_each(self, picture: Picture, clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the candidates by the network and by each of ``others``, which share map and pooled regions."""
        image = picture.pixels(clock)
        if self._proposals is not None:
            boxes = self._proposals.boxes_of(picture.image_id)
        else:
            with clock.phase("proposals"):
                boxes = propose(image, self.description.section("proposals", Proposals))
        with clock.phase("convolution"):
            maps, factors = image_maps(self._networks[0], image, self._device)
        height, width = image.shape[:2]
        regress = self._settings.box_regression
        scored = score_regions(self._networks, maps, factors, boxes, width, height, regress, clock)
        with clock.phase("suppression"):
            return [self.choose(regions) for regions in scored]


def load_network(folder: Path, compressed: bool) -> FastRcnn:
    """Read the network that is tested from the models in ``folder``: as it was trained, or with a truncated SVD."""
    if compressed:
        return FastRcnn.load(folder / "compressed.safetensors", f"{STAGES}:svd")
    return FastRcnn.load(folder / "detector.safetensors", f"{STAGES}:classifier")


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System`."""
    folder = models / "fast_rcnn"
    description = Description.load(folder, "fast_rcnn")
    compressed = description.section("detect", FastDetection).compressed
    return FastRcnnDetector(description, load_network(folder, compressed), device)


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split and its proposals; see `pipeline.registry.System`."""
    detect = params.section(sections.FastRcnn).detect
    fitted = load_indices(params.data.fit_splits)
    limits = limits_of(detect, fitted, "fast_rcnn.detect")
    description = Description.of("fast_rcnn", index.classes, proposals=params.proposals, detect=detect, **limits)
    network = load_network(Path("models/fast_rcnn"), detect.compressed)
    return FastRcnnDetector(description, network, device, ProposalSet.load(Path("proposals/test.h5"), index))
