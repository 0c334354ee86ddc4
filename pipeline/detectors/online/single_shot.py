"""YOLO and SSD on pictures: squares, one pass for all of them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.clock import NULL_CLOCK, Clock
from pipeline.detectors.description import Description, read_description
from pipeline.detectors.online.detector import Found, Picture, opened
from pipeline.detectors.single_shot.batches import as_images
from pipeline.detectors.single_shot.detect import in_image
from pipeline.detectors.ssd.network import Ssd
from pipeline.detectors.yolo.network import Yolo
from pipeline.imaging.stretch import stretch
from pipeline.params.single_shot import SquareDetection


class SingleShot:
    """A `Detector`; the whole network counts as ``convolution``, YOLO's fully connected layers too."""

    batched = True

    def __init__(self, description: Description, network: Yolo | Ssd, device: torch.device) -> None:
        self.system, self.classes = description.system, description.classes
        self._settings = description.section("detect", SquareDetection)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._side, self._device = network.shape.side, device

    @classmethod
    def load_yolo(cls, models: Path, device: torch.device) -> "SingleShot":
        """Read what the stages of YOLO left below ``models``."""
        network = Yolo.load(models / "yolo/network.safetensors", "yolo_train")
        return cls(read_description(models / "yolo", "yolo"), network, device)

    @classmethod
    def load_ssd(cls, models: Path, device: torch.device) -> "SingleShot":
        """Read what the stages of SSD left below ``models``."""
        network = Ssd.load(models / "ssd/network.safetensors", "ssd_train")
        return cls(read_description(models / "ssd", "ssd"), network, device)

    @torch.inference_mode()
    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image; all go through the network together."""
        if not images:
            return []
        pixels = [opened(image, clock) for image in images]
        with clock.phase("convolution"):
            squares = as_images([stretch(image, self._side) for image in pixels]).to(self._device)
            output = self._network(squares)
        with clock.phase("suppression"):
            boxes, scores = (values.cpu().numpy() for values in self._network.decode(output))
            return [
                Found.of(in_image(own, each, image.shape[1], image.shape[0], self._side, self._settings))
                for own, each, image in zip(boxes, scores, pixels, strict=True)
            ]
