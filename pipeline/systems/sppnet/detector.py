"""SPP-net on pictures: proposals, one map for each scale, windows pooled from them, then as R-CNN."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.sections import Proposals
from pipeline.core.storage import fingerprint
from pipeline.detector import Description, Found, Image, Picture, opened, read_description
from pipeline.features.cache import saturate
from pipeline.features.maps import ImageMaps, map_cells, map_sizes, maps_origin
from pipeline.linear.detection import RegionClassifier
from pipeline.nets import weights
from pipeline.nets.backbones import architecture, normalise
from pipeline.nets.geometry import Geometry
from pipeline.proposals.engines import propose
from pipeline.systems.sppnet.features import region_features
from pipeline.systems.sppnet.network import PyramidHead
from pipeline.systems.sppnet.params import Maps


class Sppnet:
    """A `Detector`; its maps and features are those of the cache."""

    system = "sppnet"
    batched = False

    def __init__(
        self,
        description: Description,
        conv: nn.Module,
        head: PyramidHead,
        classify: RegionClassifier,
        device: torch.device,
    ) -> None:
        self.classes = description.classes
        self._proposals = description.section("proposals", Proposals)
        self._scales = description.section("maps", Maps).scales
        self._conv = conv.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._geometry = Geometry.from_layers(conv)
        self._head, self._classify, self._device = head.to(device), classify, device

    @classmethod
    def load(cls, models: Path, device: torch.device) -> "Sppnet":
        """Read what the stages left below ``models``; the convolutions are the backbone's.

        Raises:
            InputError: a file is missing, or the layers above the map were trained on other maps.
        """
        folder, backbone = models / cls.system, models / "backbone.safetensors"
        description = read_description(folder, cls.system)
        head = PyramidHead.load(folder / "network.safetensors", "sppnet_finetune")
        tensors, _ = weights.load(backbone, "pretrain")
        conv = architecture(head.shape.network).conv()
        weights.load_conv(conv, head.shape.network, tensors)
        scales = description.section("maps", Maps).scales
        if fingerprint(**maps_origin(head.shape.network, conv, scales)) != head.shape.maps:
            raise InputError(
                f"{folder}: trained on maps of other convolutions than {backbone} or of other scales than "
                f"{list(scales)}; dvc repro makes all of them anew."
            )
        classify = RegionClassifier.load(folder, description, description.section("maps", Maps).dtype)
        return cls(description, conv, head, classify, device)

    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image."""
        return [self._detect_one(opened(image, clock), clock) for image in images]

    @torch.inference_mode()
    def _detect_one(self, image: Image, clock: Clock) -> Found:
        size = (image.shape[1], image.shape[0])
        with clock.phase("proposals"):
            boxes = propose(image, self._proposals)
        with clock.phase("convolution"):
            pixels = normalise(torch.from_numpy(image).to(self._device).permute(2, 0, 1))
            input_hw, factors, hw = map_sizes([size], self._scales, self._geometry)
            cells = [map_cells(self._conv, pixels, sides) for sides in input_hw.tolist()]
            maps = ImageMaps([saturate(own, self._classify.dtype) for own in cells], hw, factors)
        taps = region_features(
            self._head, maps, boxes, self._scales, self._geometry, self._classify.layers, self._device, clock
        )
        return self._classify(boxes, taps, size, clock)
