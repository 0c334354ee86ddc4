"""The interval of a change: a revision and a baseline scored on the same draws of the test images.

What makes an image hard for both cancels out of the difference (a paired bootstrap, `pipeline.evaluation.bootstrap`).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.compare.revisions import DETECTIONS, METRICS, TEST_IMAGES, Revision
from pipeline.core.errors import InputError
from pipeline.core.sections import Evaluation
from pipeline.data.index import Index
from pipeline.evaluation.bootstrap import intervals
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.measures import MEASURES, Measures
from pipeline.registry import all_systems

T = TypeVar("T")
Files = Callable[[Revision, str, str], Path | None]
"""From a revision, a path and an MD5 to a file: `pipeline.compare.revisions.Project.file`."""


class PairedBootstrap:
    """Detections of two revisions on the same draws of the test images; each file is read once.

    The baseline's parameters say how samples are drawn and judged.
    """

    def __init__(self, baseline: Revision, files: Files) -> None:
        self._evaluation = evaluation_of(baseline)
        self._seed = baseline.parameter("seed")
        self._files = files
        self._indices: dict[str, Index | None] = {}
        self._samples: dict[tuple[str, str, str], NDArray[np.float64] | None] = {}

    @property
    def level(self) -> float:
        """Share of the samples inside an interval."""
        return self._evaluation.bootstrap.level

    def intervals(
        self, pairs: Sequence[tuple[Revision, Revision]], system: str
    ) -> Mapping[str, Mapping[str, float] | None]:
        """Return the intervals (``low``, ``high``) of how far a system's scores lie above another's, by metric.

        Of several ``pairs`` (a run and the one to compare it with), those of the mean over them. The two of a pair must
        have been evaluated on the same index. Empty where it or detections are not at hand, or are in a format that
        this version does not know.
        """
        runs, references = ([self._sampled(run, system) for run in side] for side in zip(*pairs, strict=True))
        known = [sampled for sampled in (*runs, *references) if sampled is not None]
        if len(known) < 2 * len(pairs):
            return {}
        ours, theirs = np.split(np.stack(known), 2)
        names = MEASURES[all_systems()[system].task].names
        return intervals(names, ours.mean(axis=0) - theirs.mean(axis=0), self.level)

    def _sampled(self, revision: Revision, system: str) -> NDArray[np.float64] | None:
        """Return the scores of the detections that ``revision`` evaluated on each sample, None as for `intervals`."""
        evaluation, path = revision.producer(METRICS.format(system)), DETECTIONS.format(system)
        inputs = evaluation.inputs if evaluation else {}
        test, detected = inputs.get(TEST_IMAGES), inputs.get(path)
        if not test or not detected:
            return None
        if test not in self._indices:
            self._indices[test] = self._load(revision, TEST_IMAGES, test, Index.load)
        index, task = self._indices[test], all_systems()[system].task
        key = (test, detected, task)
        if index is not None and key not in self._samples:
            detections = self._load(revision, path, detected, lambda file: Detections.load(file, index, "dvc repro"))
            self._samples[key] = None if detections is None else self._sample(index, detections, MEASURES[task])
        return self._samples.get(key)

    def _sample(self, index: Index, detections: Detections, measures: Measures) -> NDArray[np.float64]:
        iou, samples = self._evaluation.iou, self._evaluation.bootstrap.samples
        return measures.sampled(index, detections, iou, samples=samples, seed=1 if self._seed is None else self._seed)

    def _load(self, revision: Revision, path: str, md5: str, load: Callable[[Path], T]) -> T | None:
        file = self._files(revision, path, md5)
        try:
            return None if file is None else load(file)
        except (InputError, KeyError, TypeError, ValueError):
            return None


def evaluation_of(revision: Revision) -> Evaluation:
    """Return the parameters ``evaluation`` of a revision; what it does not have gets its default.

    Raises:
        InputError: one has a wrong value.
    """
    section = revision.parameter("evaluation") or {}
    try:
        # `similar` plays no part; other keys may be those of another version.
        return Evaluation.model_validate({key: section[key] for key in ("iou", "bootstrap") if key in section})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["evaluation", *map(str, first["loc"])])
        raise InputError(f"{revision.name}: {key} is {first['input']!r}: {first['msg'].lower()}.") from None
