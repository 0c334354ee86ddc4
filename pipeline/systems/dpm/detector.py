"""Deformable part models as a detector: every placement of root and parts is scored, the best become boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
from pipeline.systems.dpm.model import DpmModel, views_of
from pipeline.systems.dpm.params import Dpm, DpmDetection, Parts
from pipeline.systems.dpm.placement import Mixture, Placements
from pipeline.systems.indices import load_indices

if TYPE_CHECKING:
    import torch

    from pipeline.params import Params

STAGES = "systems/dpm/dvc.yaml"


@dataclass(frozen=True)
class Found:
    """Where the filters of an image's candidates lie.

    Attributes:
        size: ``(width, height)`` of the image.
        views: ``(N,)``, the view that sees each.
        filters: of each view ``(n, 1 + parts, 4)``, of its candidates in their order.
    """

    size: tuple[int, int]
    views: NDArray[np.int64]
    filters: dict[int, NDArray[np.float32]]


class DpmDetector(Detector):
    """Scores every placement of every look.

    Args:
        description: with the settings ``hog``, ``parts``, ``detect`` and ``limits``.
        model: the mixtures, with box prediction.
        pyramids: where the levels come from.
    """

    def __init__(self, description: Description, model: DpmModel, pyramids: PyramidSource) -> None:
        super().__init__(description)
        self._settings, self._limits = (
            description.section("detect", DpmDetection),
            description.section("limits", Limits),
        )
        hog = description.section("hog", Hog)
        self._descriptor, self._first = descriptor_of(hog), hog.per_octave
        reach = description.section("parts", Parts).reach
        self.detection_limits, self.reads_pixels = self._limits.on_average, pyramids.reads_pixels
        self._model, self._pyramids = model, pyramids
        margin = max((look.component.shape.margin for look in model.looks), default=0)
        self._mixture = Mixture(views_of(model.looks, model.mirror, self._descriptor), margin, reach)

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the best placements of each picture and class."""
        return [self._search(picture, clock) for picture in pictures]

    def _search(self, picture: Picture, clock: Clock) -> Candidates:
        maps, size = self._pyramids(picture, clock)
        with clock.phase("svm"):
            pyramid = Pyramid(maps, self._descriptor, self._mixture.margin, slice(self._first, None))
            placements = Placements(pyramid, maps, self._mixture)
        with clock.phase("suppression"):
            parts, views = [], []
            for number, view in enumerate(self._mixture.views):
                scores = placements.scores[number][:, None]
                part = Candidates.above(self._settings.min_score, placements.windows(number).boxes, scores)
                parts.append(replace(part, labels=np.full(len(part), view.look.component.label, np.int64)))
                views.append(np.full(len(part), number, np.int64))
            joined = Candidates.join(parts)
            numbered = replace(joined, rows=np.arange(len(joined)))
            best = numbered.limit_by_class(self._limits.in_image)
            windows, seen = joined.rows[best.rows], np.concatenate([np.zeros(0, np.int64), *views])[best.rows]
        with clock.phase("box_regression"):
            filters = {
                number: placements.filters(number, rows, placements.moves(number, rows))
                for number in np.unique(seen).tolist()
                for rows in [windows[seen == number]]
            }
        return replace(best, rows=np.arange(len(best)), source=Found(size, seen, filters))

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the detections of one image: suppression, boxes from the places of the filters, suppression again."""
        found: Found = candidates.source
        with clock.phase("suppression"):
            kept = self._suppressed(candidates)
        with clock.phase("box_regression"):
            if self._settings.box_prediction:
                boxes = np.zeros((len(found.views), 4), np.float32)
                for number, filters in found.filters.items():
                    boxes[found.views == number] = self._model.predicted(number, filters, found.size)
                kept = replace(kept, boxes=boxes[kept.rows])
        with clock.phase("suppression"):
            return self._suppressed(kept).detections()

    def _suppressed(self, candidates: Candidates) -> Candidates:
        """Return what is left of the clipped boxes of each class."""
        clipped = replace(candidates, boxes=clip(candidates.boxes, *candidates.source.size))
        return clipped.suppress_covered(self._settings.nms)


def load(models: Path, device: "torch.device") -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System.load`."""
    folder = models / "dpm"
    description = Description.load(folder, "dpm")
    model = DpmModel.load(folder / "parts.safetensors", f"{STAGES}:parts")
    return DpmDetector(description, model, ComputedPyramids(description.section("hog", Hog)))


def on_test_split(params: "Params", index: Index, device: "torch.device") -> Detector:
    """Return the detector for the test split, whose pyramids are cached; see `pipeline.registry.System`."""
    section = params.section(Dpm)
    detect, fitted = section.detect, load_indices(params.data.fit_splits)
    limits = class_limits(detect.max_per_class, detect.per_class_budget, fitted, "dpm.detect")
    settings = {"hog": section.hog, "parts": section.parts, "detect": detect, "limits": limits}
    description = Description.of("dpm", index.classes, **settings)
    model = DpmModel.load(Path("models/dpm/parts.safetensors"), f"{STAGES}:parts")
    cache = MapCache(Path("features/dpm/test.zarr"), f"{STAGES}:pyramids@test")
    return DpmDetector(description, model, CachedPyramids(cache, index))
