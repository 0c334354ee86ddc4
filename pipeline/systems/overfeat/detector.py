"""OverFeat as a detector: one pass a scale, a box for every window, greedy merging (section 4.3)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import area, best_first, clip
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.data.index import Index
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.evaluation.detections import Detections
from pipeline.imaging import as_images, from_square, stretch
from pipeline.nets.backbones import channels_last
from pipeline.systems.overfeat.merging import merge
from pipeline.systems.overfeat.network import Overfeat
from pipeline.systems.overfeat.params import Overfeat as OverfeatParams
from pipeline.systems.overfeat.params import OverfeatDetection
from pipeline.whole_images import WholeImages

if TYPE_CHECKING:
    from pipeline.params import Params


class OverfeatDetector(Detector):
    """All windows of all scales, scored, moved to their objects and merged.

    Args:
        description: with the settings ``detect``.
        network: trained.
        device: where it runs.
    """

    batched = True

    def __init__(self, description: Description, network: Overfeat, device: torch.device) -> None:
        super().__init__(description)
        self.settings = description.section("detect", OverfeatDetection)
        self.batch = self.at_once = self.settings.batch
        self.network = channels_last(network, device).eval()
        self.whole_images = WholeImages.stretched(network, network.shape.scales)
        self._device = device

    @torch.inference_mode()
    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the candidates of each picture, boxes in its pixels; all go through the network together."""
        images = [picture.pixels(clock) for picture in pictures]
        boxes: list[list[NDArray[np.float32]]] = [[] for _ in images]
        scores: list[list[NDArray[np.float32]]] = [[] for _ in images]
        for side in self.network.shape.scales:
            with clock.phase("convolution"):
                squares = as_images([stretch(image, side) for image in images]).to(self._device)
                logits, edges = self.network(squares, offsets=self.settings.offsets)
                windows = torch.from_numpy(self.network.windows(side, self.settings.offsets)).to(self._device)
                found = self.network.boxes(edges, windows).cpu().numpy()
                probabilities = logits.softmax(2)[:, :, 1:].cpu().numpy()
            with clock.phase("suppression"):
                for place, image in enumerate(images):
                    height, width = image.shape[:2]
                    flat = from_square(found[place].reshape(-1, 4), width, height, side)
                    boxes[place].append(flat.reshape(found[place].shape))
                    scores[place].append(self._of_best_classes(probabilities[place]))
        with clock.phase("suppression"):
            return [
                self._above(np.concatenate(own), np.concatenate(values), image.shape)
                for own, values, image in zip(boxes, scores, images, strict=True)
            ]

    def _of_best_classes(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the ``scores`` (W, classes) of a scale with 0 for all but the ``top_classes`` with the best window."""
        best = best_first(scores.max(axis=0))[: self.settings.top_classes]
        return np.where(np.isin(np.arange(scores.shape[1]), best), scores, np.float32(0))

    def _above(self, boxes: NDArray[np.float32], scores: NDArray[np.float32], shape: tuple[int, ...]) -> Candidates:
        shared = boxes[:, 0] if boxes.shape[1] == 1 else boxes
        found = Candidates.above(self.settings.min_score, shared, scores, source=shape)
        return found.limit_by_class(self.settings.max_per_class)

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the detections of one image: the merged boxes of each class, clipped, their scores summed up."""
        height, width, _ = candidates.source
        with clock.phase("suppression"):
            merged = []
            for label in np.unique(candidates.labels):
                own = candidates.take(candidates.labels == label)
                boxes, scores = merge(own.boxes, own.scores, self.settings.merge_below)
                merged.append(replace(own.take(np.arange(len(boxes))), boxes=clip(boxes, width, height), scores=scores))
            together = Candidates.join(merged)
            return together.take(area(together.boxes) > 0).limit(self.settings.max_per_image).detections()


def _load(description: Description, folder: Path, device: torch.device) -> OverfeatDetector:
    weights = folder / "network.safetensors"
    network = Overfeat.load(weights, "systems/overfeat/dvc.yaml:box")
    description.check_classes(network.shape.classes, weights)
    return OverfeatDetector(description, network, device)


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System.load`."""
    folder = models / "overfeat"
    return _load(Description.load(folder, "overfeat"), folder, device)


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split; see `pipeline.registry.System.on_test_split`."""
    description = Description.of("overfeat", index.classes, detect=params.section(OverfeatParams).detect)
    return _load(description, Path("models/overfeat"), device)
