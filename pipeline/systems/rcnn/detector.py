"""R-CNN as a detector: proposals, each warped and sent through the network, then SVMs and box regression."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.core.clock import Clock
from pipeline.core.sections import Features, Proposals, Region
from pipeline.data.index import Index
from pipeline.detector import Description, Detector, Picture
from pipeline.features.cache import FeatureCache
from pipeline.limits import class_limits
from pipeline.linear.detection import CachedRegions, ImageRegions, LinearDetector
from pipeline.nets.backbones import channels_last, normalise
from pipeline.proposals.engines import propose
from pipeline.systems.indices import load_indices
from pipeline.systems.rcnn.features import region_taps
from pipeline.systems.rcnn.network import RegionNetwork
from pipeline.systems.rcnn.params import Rcnn

if TYPE_CHECKING:
    from pipeline.params import Params

STAGES = "systems/rcnn/dvc.yaml"


class WarpedRegions:
    """A `RegionSource`: the proposals of a picture, warped and sent through the network.

    Args:
        description: with the settings ``proposals``, ``region`` and ``features``.
        network: as it was fine-tuned.
        device: where it computes.
    """

    reads_pixels = True

    def __init__(self, description: Description, network: RegionNetwork, device: torch.device) -> None:
        self._proposals = description.section("proposals", Proposals)
        self._region = description.section("region", Region)
        features = description.section("features", Features)
        self._dtype = np.dtype(features.dtype)
        self._batch = features.batch or network.net.batch(self._region.size, device, features.precision)
        self._precision = features.precision
        self._network = channels_last(network, device)
        self._device = device

    def __call__(self, picture: Picture, layers: Sequence[str], clock: Clock) -> ImageRegions:
        """Return the proposals with their features."""
        image = picture.pixels(clock)
        with clock.phase("proposals"):
            boxes = propose(image, self._proposals)
        with clock.phase("pooling"):
            pixels = normalise(torch.from_numpy(image).to(self._device).permute(2, 0, 1))
        parts = list(
            region_taps(self._network, pixels, boxes, self._region, layers, self._batch, self._precision, clock)
        )
        with clock.phase("heads"):
            taps = {layer: torch.cat([part[layer] for part in parts]) for layer in layers} if parts else {}
        return ImageRegions.from_taps(boxes, (image.shape[1], image.shape[0]), taps, self._dtype)


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System`."""
    folder = models / "rcnn"
    description = Description.load(folder, "rcnn")
    network = RegionNetwork.load(folder / "network.safetensors", f"{STAGES}:finetune")
    return LinearDetector.load(folder, description, WarpedRegions(description, network, device))


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split, whose features are cached; see `pipeline.registry.System`."""
    rcnn = params.section(Rcnn)
    fitted = load_indices(params.data.fit_splits)
    description = Description.of(
        "rcnn",
        index.classes,
        proposals=params.proposals,
        region=rcnn.region,
        features=rcnn.features,
        detect=rcnn.detect,
        limits=class_limits(rcnn.detect.max_per_class, rcnn.detect.per_class_budget, fitted, "rcnn.detect"),
    )
    cache = FeatureCache(Path("features/rcnn/test.zarr"), f"{STAGES}:features@test")
    return LinearDetector.load(Path("models/rcnn"), description, CachedRegions(cache, index))
