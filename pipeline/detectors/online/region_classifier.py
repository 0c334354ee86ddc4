"""How R-CNN and SPP-net end: SVMs on one layer of a region's features, box regression on another."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.boxes import Boxes
from pipeline.classical.box_regression import BoxRegressor
from pipeline.classical.detection import detect_one
from pipeline.classical.linear import LinearModel
from pipeline.clock import Clock
from pipeline.detectors.description import Description
from pipeline.detectors.online.detector import Found
from pipeline.evaluation.budget import LeastScores
from pipeline.features.shards import saturate
from pipeline.params.classical import Detection


@dataclass(frozen=True)
class RegionClassifier:
    """The linear models of one system.

    Attributes:
        svm: of the classes.
        regressor: None where the settings want none.
        settings: of the test.
        least: see `pipeline.evaluation.budget`.
        dtype: of the cache that the models were fitted on; features are rounded to it.
    """

    svm: LinearModel
    regressor: BoxRegressor | None
    settings: Detection
    least: LeastScores
    dtype: np.dtype

    @classmethod
    def load(cls, folder: Path, description: Description, dtype: str) -> "RegionClassifier":
        """Read the models that the system's stages left in ``folder``."""
        settings = description.section("detect", Detection)
        svm = LinearModel.load(folder / "svm.safetensors", f"{description.system}_svm")
        regressor = BoxRegressor.load(folder / "bbox.safetensors", f"{description.system}_bbox")
        return cls(svm, regressor if settings.box_regression else None, settings, description.least, np.dtype(dtype))

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the names of the layers that are needed."""
        return tuple(sorted({self.svm.layer, *([self.regressor.model.layer] if self.regressor else [])}))

    def __call__(self, boxes: Boxes, taps: Mapping[str, torch.Tensor], size: tuple[int, int], clock: Clock) -> Found:
        """Detect among ``boxes`` (N, 4) of an image of ``size``, given the `layers` ``(N, width)`` of each.

        A layer leaves the device for the rows that are asked for, and no others.
        """

        def features(layer: str, rows: NDArray) -> NDArray:
            values = taps[layer]
            return saturate(values[torch.from_numpy(rows).to(values.device)], self.dtype).cpu().numpy()

        return Found.of(detect_one(boxes, features, size, self.svm, self.regressor, self.settings, self.least, clock))
