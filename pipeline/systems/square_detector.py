"""The detector of networks that see a whole image as one square (YOLO, SSD, RetinaNet).

A square is the image stretched to ``side`` pixels both ways, whatever its shape.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline.core.boxes import area, clip
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.sections import SquareDetection
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.evaluation.detections import Detections
from pipeline.imaging import as_images, from_square, stretch
from pipeline.nets.backbones import channels_last
from pipeline.nets.weights import ShapedNetwork
from pipeline.whole_images import WholeImages

Decode = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
"""Returns, from a network's output, boxes ``(N, K, 4)`` in pixels of the square, not clipped, and scores
``(N, K, classes)`` without the background."""


class SquareDetector(Detector):
    """A network on squares as a detector; all of it counts as ``convolution``, YOLO's fully connected layers too.

    For each class: scores above ``min_score``, of those the ``max_per_class`` best, suppression. Then the
    ``max_per_image`` best of all classes (``detection_output_layer.cpp`` of SSD; darknet's ``do_nms_sort`` has no
    limits). Both official codes suppress before they clip. A box that lies outside of the image is dropped.

    Args:
        description: with the settings ``detect``.
        network: takes uint8 RGB ``(N, 3, side, side)``.
        decode: of its output.
        side: of the square, in pixels.
        device: where the network runs.
    """

    batched = True

    def __init__(
        self, description: Description, network: ShapedNetwork, decode: Decode, side: int, device: torch.device
    ) -> None:
        super().__init__(description)
        self.settings = description.section("detect", SquareDetection)
        self.batch = self.at_once = self.settings.batch
        self.network = channels_last(network, device).eval()
        self.whole_images = WholeImages.stretched(network, [side])
        self.decode, self.side = decode, side
        self._device = device

    @torch.inference_mode()
    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the candidates of each picture, boxes in pixels of the square; all go through the network together."""
        images = [picture.pixels(clock) for picture in pictures]
        with clock.phase("convolution"):
            squares = as_images([stretch(image, self.side) for image in images]).to(self._device)
            output = self.network(squares)
        with clock.phase("suppression"):
            batch = (values.cpu().numpy() for values in self.decode(output))
            settings = self.settings
            return [
                Candidates.above(settings.min_score, boxes, scores, source=image.shape).limit_by_class(
                    settings.max_per_class
                )
                for boxes, scores, image in zip(*batch, images, strict=True)
            ]

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the detections of one image, in its own pixels."""
        height, width, _ = candidates.source
        with clock.phase("suppression"):
            kept = candidates.suppress(self.settings.nms).limit(self.settings.max_per_image)
            boxes = clip(from_square(kept.boxes, width, height, self.side), width, height)
            return replace(kept, boxes=boxes).take(area(boxes) > 0).detections()


def load_detector(
    kind: type[ShapedNetwork], description: Description, folder: Path, device: torch.device
) -> SquareDetector:
    """Return the detector of a network of this ``kind`` in ``folder``, with a `Decode` of its own named ``decode``.

    Raises:
        InputError: there is none, or it was trained on other classes.
    """
    weights = folder / "network.safetensors"
    network: Any = kind.load(weights, f"systems/{description.system}/dvc.yaml:train")
    description.check_classes(network.shape.classes, weights)
    return SquareDetector(description, network, network.decode, network.shape.side, device)
