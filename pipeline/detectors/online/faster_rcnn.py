"""Faster R-CNN on pictures: one map, from which the proposals come as well."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.clock import NULL_CLOCK, Clock
from pipeline.detectors.description import Description, read_description
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.detectors.fast_rcnn.postprocess import postprocess_one
from pipeline.detectors.faster_rcnn.detect import check_shared, score_images
from pipeline.detectors.faster_rcnn.network import RegionProposalNetwork
from pipeline.detectors.online.detector import Found, Image, Picture, opened
from pipeline.params.faster_rcnn import FasterDetection


class FasterRcnn:
    """A `Detector`; images of one size go through the convolutions together."""

    system = "faster_rcnn"
    batched = True

    def __init__(
        self, description: Description, rpn: RegionProposalNetwork, network: FastRcnn, device: torch.device
    ) -> None:
        check_shared(rpn, network)
        self.classes, self._least = description.classes, description.least
        self._settings = description.section("detect", FasterDetection)
        self._rpn, self._network = (
            module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for module in (rpn, network)
        )
        self._device = device

    @classmethod
    def load(cls, models: Path, device: torch.device) -> "FasterRcnn":
        """Read what the stages left below ``models``."""
        folder = models / cls.system
        return cls(
            read_description(folder, cls.system),
            RegionProposalNetwork.load(folder / "rpn2.safetensors", "faster_rcnn_rpn2"),
            FastRcnn.load(folder / "detector2.safetensors", "faster_rcnn_detector2"),
            device,
        )

    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image."""
        pixels = [opened(image, clock) for image in images]
        found: dict[int, Found] = {}
        for places in _by_shape(pixels):
            batch = [pixels[place] for place in places]
            scored = score_images(self._rpn, self._network, batch, self._settings, self._device, clock)
            for place, regions in zip(places, scored, strict=True):
                with clock.phase("suppression"):
                    found[place] = Found.of(postprocess_one(regions, self._settings, self._least))
        return [found[place] for place in range(len(images))]


def _by_shape(images: Sequence[Image]) -> list[list[int]]:
    """Return the positions of the images of each shape: a batch of several would see padding at its borders."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(image.shape, []).append(place)
    return list(groups.values())
