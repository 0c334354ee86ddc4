"""Detection as R-CNN and SPP-net end: SVMs on one layer of a region's features, box regression on another.

The steps are those of ``rcnn_test.m``, ``spp_test.m`` and ``imdb_eval_voc.m``. A `RegionSource` gives the regions and
their features: the network those of a picture, a cache those of a split.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, clip
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.sections import Detection
from pipeline.data.index import Index
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.evaluation.detections import Detections
from pipeline.features.cache import saturate
from pipeline.features.regions import RegionFeatures
from pipeline.limits import Limits
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor


@dataclass(frozen=True)
class ImageRegions:
    """The regions of one image.

    Attributes:
        boxes: ``(R, 4)`` float32.
        size: ``(width, height)`` of the image in pixels.
        features: returns the values of a layer for some rows of ``boxes``, ``(len(rows), width)``.
    """

    boxes: Boxes
    size: tuple[int, int]
    features: Callable[[str, NDArray[np.int64]], NDArray]

    @classmethod
    def from_taps(
        cls, boxes: Boxes, size: tuple[int, int], taps: Mapping[str, torch.Tensor], dtype: np.dtype
    ) -> "ImageRegions":
        """Return regions whose layers ``(R, width)`` were just computed, rounded to ``dtype`` as a cache does.

        A layer leaves the device for the rows that are asked for, and no others.
        """

        def features(layer: str, rows: NDArray[np.int64]) -> NDArray:
            values = taps[layer]
            return saturate(values[torch.from_numpy(rows).to(values.device)], dtype).cpu().numpy()

        return cls(boxes, size, features)


class RegionSource(Protocol):
    """Gives the regions of a picture.

    Attributes:
        reads_pixels: see `Detector`.
    """

    reads_pixels: bool

    def __call__(self, picture: Picture, layers: Sequence[str], clock: Clock) -> ImageRegions:
        """Return the regions with their features in ``layers``; ``clock`` times how they come about."""
        ...


class CachedRegions:
    """The proposals of a split and their cached features; ground-truth rows are left out.

    Args:
        cache: the features of the images' regions.
        index: of the same images.

    Raises:
        InputError: the cache is of other images.
    """

    reads_pixels = False

    def __init__(self, cache: RegionFeatures, index: Index) -> None:
        if cache.image_ids.tolist() != [image.id for image in index.images]:
            raise InputError(f"{cache.path}: the features are of other images than the index; dvc repro renews them.")
        self._cache = cache
        self._sizes = [(image.width, image.height) for image in index.images]
        self._positions = {image.id: position for position, image in enumerate(index.images)}
        self._boxes, self._ground_truth = cache.table("boxes"), cache.table("is_ground_truth")

    def __call__(self, picture: Picture, layers: Sequence[str], clock: Clock) -> ImageRegions:
        """Return the proposals of an image of the split."""
        position = self._positions[picture.image_id]
        start, stop = self._cache.offsets[position : position + 2]
        proposals = np.flatnonzero(~self._ground_truth[start:stop])

        def features(layer: str, rows: NDArray[np.int64]) -> NDArray:
            if len(rows) < len(proposals):  # what is left for box regression
                return self._cache.rows(position, layer, proposals[rows])
            # All regions of the image: SPP-net computes them here, and the size of a batch can change last bits.
            return self._cache.rows(position, layer, np.arange(stop - start))[proposals[rows]]

        return ImageRegions(self._boxes[start + proposals], self._sizes[position], features)


class LinearDetector(Detector):
    """Scores come first, then suppression where ``nms_before`` asks for it (SPP-net), then the limits on candidates.

    What is left is moved by the box regressor of its class, clipped, and suppressed class by class.

    Args:
        description: with the settings ``detect`` and ``limits``.
        svm: region scores, one output a class.
        regressor: None detects with the proposals themselves.
        regions: where regions and features come from.
    """

    def __init__(
        self, description: Description, svm: LinearModel, regressor: BoxRegressor | None, regions: RegionSource
    ) -> None:
        super().__init__(description)
        self._settings = description.section("detect", Detection)
        self._limits = description.section("limits", Limits)
        self.detection_limits = self._limits.on_average
        self.reads_pixels = regions.reads_pixels
        self._svm, self._regressor, self._regions = svm, regressor, regions
        self._layers = tuple(sorted({svm.layer, *([regressor.model.layer] if regressor else [])}))

    @classmethod
    def load(cls, folder: Path, description: Description, regions: RegionSource) -> "LinearDetector":
        """Read the linear models that the system's stages left in ``folder``."""
        stages = f"systems/{description.system}/dvc.yaml"
        svm = LinearModel.load(folder / "svm.safetensors", f"{stages}:svm")
        regressor = BoxRegressor.load(folder / "bbox.safetensors", f"{stages}:bbox")
        used = description.section("detect", Detection).box_regression
        return cls(description, svm, regressor if used else None, regions)

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the best regions of each picture and class."""
        return [self._score(self._regions(picture, self._layers, clock), clock) for picture in pictures]

    def _score(self, regions: ImageRegions, clock: Clock) -> Candidates:
        count, settings = len(regions.boxes), self._settings
        scores = np.zeros((0, len(self._svm.bias)), np.float32)
        if count:
            with clock.phase("svm"):
                scores = self._svm(regions.features(self._svm.layer, np.arange(count)))
        with clock.phase("suppression"):
            candidates = Candidates.above(settings.min_score, regions.boxes, scores, regions)
            if settings.nms_before:
                candidates = candidates.suppress(settings.nms)
            return candidates.limit_by_class(self._limits.in_image)

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the detections of one image: regression, clipping, suppression."""
        regions: ImageRegions = candidates.source
        boxes = candidates.boxes
        if self._regressor is not None and len(candidates):
            with clock.phase("box_regression"):
                features = regions.features(self._regressor.model.layer, candidates.rows)
                boxes = self._regressor(features, boxes, candidates.labels)
        with clock.phase("suppression"):
            clipped = replace(candidates, boxes=clip(boxes, *regions.size))
            return clipped.suppress(self._settings.nms).detections()
