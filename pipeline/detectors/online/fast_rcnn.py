"""Fast R-CNN on pictures: proposals, one map, RoI pooling, scores and boxes at once."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.clock import NULL_CLOCK, Clock
from pipeline.detectors.description import Description, read_description
from pipeline.detectors.fast_rcnn.detect import load_network, score_image
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.detectors.fast_rcnn.postprocess import postprocess_one
from pipeline.detectors.online.detector import Found, Image, Picture, opened
from pipeline.params.fast_rcnn import FastDetection
from pipeline.params.proposals import Proposals
from pipeline.proposals.propose import propose


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
