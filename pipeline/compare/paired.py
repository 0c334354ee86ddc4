"""Scores of revisions beside a baseline's on the same draws of the test images: how far a difference may be trusted."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from pipeline.compare.revision import Layout, Revision
from pipeline.core.errors import InputError
from pipeline.core.params import Fraction, Positive, Section
from pipeline.data.index import Index
from pipeline.evaluation.bootstrap import difference_intervals, sampled_maps
from pipeline.evaluation.detections import Detections

T = TypeVar("T")
# From a revision, a path and the MD5 of that file in its lock to a file with this content; None where there is none.
Read = Callable[[Revision, str, str], Path | None]


class Resampling(Section):
    """How samples are drawn and judged; the defaults are for a baseline that has no such parameters.

    Attributes:
        iou: the overlap of a correct detection for VOC's mean APs.
        samples: their number.
        level: share of the samples inside an interval.
        seed: of the samples.
    """

    iou: Fraction = 0.5
    samples: Positive = 1000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: int = 1

    @classmethod
    def of(cls, baseline: Revision, keys: Mapping[str, str]) -> "Resampling":
        """Return the parameters of ``baseline``; ``keys`` are their dotted names by field.

        Raises:
            InputError: one has a wrong value.
        """
        found = {field: baseline.parameter(key) for field, key in keys.items()}
        try:
            return cls.model_validate({field: value for field, value in found.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            message = f"{keys[str(first['loc'][0])]} is {first['input']!r}: {first['msg'].lower()}"
            raise InputError(f"{baseline.name}: {message}.") from None


class Paired:
    """A baseline's detections and others', on the same draws of the test images; each file is read once."""

    def __init__(self, baseline: Revision, layout: Layout, read: Read) -> None:
        self.resampling = Resampling.of(baseline, layout.resampling)
        self._baseline = baseline
        self._layout = layout
        self._read = read
        self._indices: dict[str, Index | None] = {}
        self._maps: dict[tuple[str, str], NDArray[np.float64] | None] = {}

    def intervals(self, revision: Revision, system: str) -> Mapping[str, Mapping[str, float] | None]:
        """Return the intervals (``low``, ``high``) of a system's scores less the baseline's, by metric.

        The two must have been evaluated on the same index. Empty where it or detections are not at hand, or are in
        a format of which this version knows nothing.
        """
        reference, maps = self._sampled(self._baseline, system), self._sampled(revision, system)
        if reference is None or maps is None:
            return {}
        return difference_intervals(maps, reference, self.resampling.level)

    def _sampled(self, revision: Revision, system: str) -> NDArray[np.float64] | None:
        """Return the scores on each sample of the detections that ``revision`` evaluated, None as for `intervals`."""
        path = self._layout.detections.format(system)
        evaluation = revision.maker(self._layout.metrics.format(system))
        inputs = evaluation.inputs if evaluation else {}
        test, found = inputs.get(self._layout.test_images), inputs.get(path)
        if not test or not found:
            return None
        if test not in self._indices:
            self._indices[test] = self._loaded(revision, self._layout.test_images, test, Index.load)
        index = self._indices[test]
        if index is None:
            return None
        if (test, found) not in self._maps:
            detections = self._loaded(revision, path, found, lambda file: Detections.load(file, index, "dvc repro"))
            self._maps[test, found] = None if detections is None else self._maps_of(index, detections)
        return self._maps[test, found]

    def _maps_of(self, index: Index, detections: Detections) -> NDArray[np.float64]:
        rules = self.resampling
        return sampled_maps(index, detections, rules.iou, samples=rules.samples, seed=rules.seed)

    def _loaded(self, revision: Revision, path: str, md5: str, load: Callable[[Path], T]) -> T | None:
        file = self._read(revision, path, md5)
        try:
            return None if file is None else load(file)
        except (InputError, KeyError, TypeError, ValueError):
            return None
