"""SPP-net as a detector: one map of the image for each scale, regions pooled from them, then as R-CNN."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from pipeline.core.clock import Clock
from pipeline.core.errors import InputError
from pipeline.core.sections import Proposals
from pipeline.core.storage import fingerprint
from pipeline.data.index import Index
from pipeline.detector import Description, Detector, Picture
from pipeline.features.cache import saturate
from pipeline.features.maps import ImageMaps, MapCache, map_cells, map_sizes, maps_origin
from pipeline.limits import class_limits
from pipeline.linear.detection import CachedRegions, ImageRegions, LinearDetector
from pipeline.nets import weights
from pipeline.nets.backbones import architecture, channels_last, normalise
from pipeline.nets.geometry import Geometry
from pipeline.proposals.engines import propose
from pipeline.proposals.store import ProposalSet
from pipeline.systems.indices import load_indices
from pipeline.systems.sppnet.features import PooledRegions, region_features
from pipeline.systems.sppnet.network import PyramidHead
from pipeline.systems.sppnet.params import Maps, Sppnet

if TYPE_CHECKING:
    from pipeline.params import Params

STAGES = "systems/sppnet/dvc.yaml"


class MappedRegions:
    """A `RegionSource`: the proposals of a picture, pooled from its maps.

    Args:
        description: with the settings ``proposals`` and ``maps``.
        conv: the convolutions of the backbone.
        head: the layers above the map.
        device: where both compute.
    """

    reads_pixels = True

    def __init__(self, description: Description, conv: nn.Module, head: PyramidHead, device: torch.device) -> None:
        self._proposals = description.section("proposals", Proposals)
        maps = description.section("maps", Maps)
        self._scales, self._dtype, self._precision = maps.scales, np.dtype(maps.dtype), maps.precision
        self._conv = channels_last(conv, device).eval()
        self._geometry = Geometry.from_layers(conv)
        self._head, self._device = head.to(device), device

    @torch.inference_mode()
    def __call__(self, picture: Picture, layers: Sequence[str], clock: Clock) -> ImageRegions:
        """Return the proposals with their features."""
        image = picture.pixels(clock)
        size = (image.shape[1], image.shape[0])
        with clock.phase("proposals"):
            boxes = propose(image, self._proposals)
        with clock.phase("convolution"):
            pixels = normalise(torch.from_numpy(image).to(self._device).permute(2, 0, 1))
            input_hw, factors, hw = map_sizes([size], self._scales, self._geometry)
            cells = [map_cells(self._conv, pixels, sides, self._precision) for sides in input_hw.tolist()]
            maps = ImageMaps([saturate(values, self._dtype) for values in cells], hw, factors)
        taps = region_features(self._head, maps, boxes, self._scales, self._geometry, layers, self._device, clock)
        return ImageRegions.from_taps(boxes, size, taps, self._dtype)


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures, with the convolutions of the backbone; see `pipeline.registry.System`.

    Raises:
        InputError: a file is missing, or the layers above the map were trained on other maps.
    """
    folder = models / "sppnet"
    backbone = folder / "backbone.safetensors"
    description = Description.load(folder, "sppnet")
    head = PyramidHead.load(folder / "network.safetensors", f"{STAGES}:finetune")
    tensors, _ = weights.load(backbone, f"{STAGES}:finetune")
    conv = architecture(head.shape.network).conv()
    weights.load_conv(conv, head.shape.network, tensors)
    scales = description.section("maps", Maps).scales
    if fingerprint(**maps_origin(head.shape.network, conv, scales)) != head.shape.maps:
        raise InputError(
            f"{folder}: trained on maps of other convolutions than {backbone} or of other scales than "
            f"{list(scales)}; dvc repro makes all of them anew."
        )
    return LinearDetector.load(folder, description, MappedRegions(description, conv, head, device))


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split, whose maps are cached; see `pipeline.registry.System`."""
    sppnet, folder = params.section(Sppnet), Path("models/sppnet")
    fitted = load_indices(params.data.fit_splits)
    description = Description.of(
        "sppnet",
        index.classes,
        proposals=params.proposals,
        maps=sppnet.maps,
        detect=sppnet.detect,
        limits=class_limits(sppnet.detect.max_per_class, sppnet.detect.per_class_budget, fitted, "sppnet.detect"),
    )
    network = folder / "network.safetensors"
    features = PooledRegions.from_proposals(
        MapCache(Path("features/sppnet/test.zarr"), f"{STAGES}:maps@test"),
        index,
        ProposalSet.load(Path("proposals/test.h5"), index),
        PyramidHead.load(network, f"{STAGES}:finetune"),
        network,
        device,
    )
    return LinearDetector.load(folder, description, CachedRegions(features, index))
