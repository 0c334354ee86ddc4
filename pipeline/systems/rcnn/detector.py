"""R-CNN on pictures: proposals, each warped and sent through the network, then SVMs and box regression."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.sections import Features, Proposals, Region
from pipeline.detector import Description, Found, Image, Picture, opened, read_description
from pipeline.linear.detection import RegionClassifier
from pipeline.nets.backbones import normalise
from pipeline.proposals.engines import propose
from pipeline.systems.rcnn.features import region_taps
from pipeline.systems.rcnn.network import RegionNetwork


class Rcnn:
    """A `Detector`; its features are those of the cache."""

    system = "rcnn"
    batched = False

    def __init__(
        self, description: Description, network: RegionNetwork, classify: RegionClassifier, device: torch.device
    ) -> None:
        self.classes = description.classes
        self._proposals = description.section("proposals", Proposals)
        self._region = description.section("region", Region)
        self._batch = description.section("features", Features).batch or network.net.batch(self._region.size, device)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._classify, self._device = classify, device

    @classmethod
    def load(cls, models: Path, device: torch.device) -> "Rcnn":
        """Read what the stages left below ``models``."""
        folder = models / cls.system
        description = read_description(folder, cls.system)
        network = RegionNetwork.load(folder / "network.safetensors", "rcnn_finetune")
        classify = RegionClassifier.load(folder, description, description.section("features", Features).dtype)
        return cls(description, network, classify, device)

    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image."""
        return [self._detect_one(opened(image, clock), clock) for image in images]

    def _detect_one(self, image: Image, clock: Clock) -> Found:
        with clock.phase("proposals"):
            boxes = propose(image, self._proposals)
        if not len(boxes):
            return Found.nothing()
        with clock.phase("pooling"):
            pixels = normalise(torch.from_numpy(image).to(self._device).permute(2, 0, 1))
        layers = self._classify.layers
        parts = list(region_taps(self._network, pixels, boxes, self._region, layers, self._batch, clock))
        with clock.phase("heads"):
            taps = {layer: torch.cat([part[layer] for part in parts]) for layer in layers}
        return self._classify(boxes, taps, (image.shape[1], image.shape[0]), clock)
