"""The localiser on a picture: its best classes, each with a box; no box suppresses another."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_first, clip
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.data.index import Index
from pipeline.detector import Candidates, Description, Detector, NotANumberError, Picture
from pipeline.evaluation.detections import Detections
from pipeline.imaging import as_images, from_square, stretch
from pipeline.nets.backbones import channels_last
from pipeline.systems.localise.network import Localiser
from pipeline.systems.localise.params import Localise as LocaliseParams
from pipeline.systems.localise.params import LocaliseDetection
from pipeline.whole_images import WholeImages

if TYPE_CHECKING:
    from pipeline.params import Params


class LocaliseDetector(Detector):
    """The guesses at the one object of an image.

    Args:
        description: with the settings ``detect``.
        network: trained.
        device: where it runs.
    """

    batched = True

    def __init__(self, description: Description, network: Localiser, device: torch.device) -> None:
        super().__init__(description)
        self.settings = description.section("detect", LocaliseDetection)
        self.batch = self.at_once = self.settings.batch
        self.network = channels_last(network, device).eval()
        self.whole_images = WholeImages.stretched(network, [network.shape.side])
        self._device = device

    @torch.inference_mode()
    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the guesses of each picture, best first, boxes in pixels of the square."""
        images = [picture.pixels(clock) for picture in pictures]
        with clock.phase("convolution"):
            squares = [stretch(image, self.network.shape.side) for image in images]
            pooled = self.network.pooled(as_images(squares).to(self._device))
        with clock.phase("heads"):
            logits, points = self.network.heads(pooled)
            scores = logits.softmax(1).cpu().numpy()
            boxes = self.network.decode(points).cpu().numpy()
        with clock.phase("suppression"):
            return [
                self._guesses(own, values, image.shape)
                for own, values, image in zip(boxes, scores, images, strict=True)
            ]

    def _guesses(self, boxes: Boxes, scores: NDArray[np.float32], shape: tuple[int, ...]) -> Candidates:
        """Return the best classes by ``scores`` (classes,), each with its own of ``boxes`` (boxes, 4)."""
        if np.isnan(scores).any():
            raise NotANumberError(int(np.isnan(scores).argmax()) + 1)
        best = best_first(scores)[: self.settings.guesses]
        rows = best % len(boxes)  # one box for all classes, or each its own
        return Candidates(boxes[rows], best + 1, scores[best], rows, source=shape, boxes_scored=len(boxes))

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the guesses, boxes in pixels of the image."""
        height, width, _ = candidates.source
        with clock.phase("suppression"):
            boxes = clip(from_square(candidates.boxes, width, height, self.network.shape.side), width, height)
            return replace(candidates, boxes=boxes).detections()


def _load(description: Description, folder: Path, device: torch.device) -> LocaliseDetector:
    weights = folder / "network.safetensors"
    network = Localiser.load(weights, "systems/localise/dvc.yaml:box")
    description.check_classes(network.shape.classes, weights)
    return LocaliseDetector(description, network, device)


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System.load`."""
    folder = models / "localise"
    return _load(Description.load(folder, "localise"), folder, device)


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split; see `pipeline.registry.System.on_test_split`."""
    description = Description.of("localise", index.classes, detect=params.section(LocaliseParams).detect)
    return _load(description, Path("models/localise"), device)
