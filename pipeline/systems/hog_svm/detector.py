"""HOG and SVMs as a detector: filters slide over the levels of a pyramid, the best windows become boxes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.boxes import clip
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.sections import Hog
from pipeline.data.index import Index
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.evaluation.detections import Detections
from pipeline.features.hog_pyramid import Pyramid, descriptor_of
from pipeline.features.maps import MapCache
from pipeline.limits import Limits, class_limits
from pipeline.linear.pyramid_source import CachedPyramids, ComputedPyramids, PyramidSource
from pipeline.systems.hog_svm.model import HogModel
from pipeline.systems.hog_svm.params import HogSvm, WindowDetection
from pipeline.systems.indices import load_indices

if TYPE_CHECKING:
    import torch

    from pipeline.params import Params

STAGES = "systems/hog_svm/dvc.yaml"


class HogDetector(Detector):
    """Scores every window of a pyramid with every filter.

    Args:
        description: with the settings ``hog``, ``detect`` and ``limits``.
        model: the filters.
        pyramids: where the levels come from.
    """

    def __init__(self, description: Description, model: HogModel, pyramids: PyramidSource) -> None:
        super().__init__(description)
        self._settings, self._limits = (
            description.section("detect", WindowDetection),
            description.section("limits", Limits),
        )
        self._descriptor = descriptor_of(description.section("hog", Hog))
        self.detection_limits, self.reads_pixels = self._limits.on_average, pyramids.reads_pixels
        self._model, self._pyramids = model, pyramids
        self._margin = max((each.component.shape.margin for each in model.filters), default=0)

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the best windows of each picture and class."""
        return [self._search(picture, clock) for picture in pictures]

    def _search(self, picture: Picture, clock: Clock) -> Candidates:
        maps, size = self._pyramids(picture, clock)
        filters = self._model.filters
        with clock.phase("svm"):
            pyramid = Pyramid(maps, self._descriptor, self._margin)
            found = pyramid.scores([each.weights for each in filters])
        with clock.phase("suppression"):
            parts = []
            for position, (each, values) in enumerate(zip(filters, found, strict=True)):
                windows = pyramid.windows(each.component.shape).boxes
                part = Candidates.above(self._settings.min_score, windows, (values + np.float32(each.bias))[:, None])
                rows = np.full(len(part), position, np.int64)
                parts.append(replace(part, labels=np.full(len(part), each.component.label, np.int64), rows=rows))
            return Candidates.join(parts, size).limit_by_class(self._limits.in_image)

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the detections of one image: the objects' boxes in their windows, clipping, suppression."""
        boxes = candidates.boxes
        with clock.phase("box_regression"):
            if self._settings.box_fit:
                boxes = self._model.boxes(boxes, candidates.rows)
        with clock.phase("suppression"):
            clipped = replace(candidates, boxes=clip(boxes, *candidates.source))
            return clipped.suppress(self._settings.nms).detections()


def load(models: Path, device: "torch.device") -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System.load`."""
    folder = models / "hog_svm"
    description = Description.load(folder, "hog_svm")
    model = HogModel.load(folder / "filters.safetensors", f"{STAGES}:train")
    return HogDetector(description, model, ComputedPyramids(description.section("hog", Hog)))


def on_test_split(params: "Params", index: Index, device: "torch.device") -> Detector:
    """Return the detector for the test split, whose pyramids are cached; see `pipeline.registry.System`."""
    section = params.section(HogSvm)
    detect, fitted = section.detect, load_indices(params.data.fit_splits)
    limits = class_limits(detect.max_per_class, detect.per_class_budget, fitted, "hog_svm.detect")
    description = Description.of("hog_svm", index.classes, hog=section.hog, detect=detect, limits=limits)
    model = HogModel.load(Path("models/hog_svm/filters.safetensors"), f"{STAGES}:train")
    cache = MapCache(Path("features/hog_svm/test.zarr"), f"{STAGES}:pyramids@test")
    return HogDetector(description, model, CachedPyramids(cache, index))
