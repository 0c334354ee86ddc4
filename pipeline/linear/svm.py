"""One linear SVM a class, with hard negative mining (R-CNN, section 2.3 and ``rcnn_train.m``).

Positives are the ground truth alone. Negatives are all regions that overlap no object of the class by ``negative_iou``
or more; what lies in a crowd is neither. One pass goes over the images: the first gives all its negatives, each later
one those that the current SVM scores above ``hard_above``; after ``retrain_after`` new ones the SVM is trained again
and easy negatives are dropped. The pass is made by this process, trainings by processes beside it or by a cluster.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.core.cluster import completed
from pipeline.core.errors import InputError
from pipeline.core.runtime import progress
from pipeline.core.sections import Mining, Svm
from pipeline.core.storage import atomic
from pipeline.linear.model import LinearModel
from pipeline.linear.negatives import Negatives
from pipeline.linear.training_set import TrainingSet


@dataclass(frozen=True)
class SvmReport:
    """The course of the mining.

    Attributes:
        positives: objects of each class.
        negatives: negatives of each class in its last training, before the easy ones were dropped.
        trainings: number of trainings of each class.
        unconverged: trainings of all classes that reached the limit of iterations.
        lost: whether the SVM of a class scores each object no better than its hardest negative.
    """

    positives: list[int]
    negatives: list[int]
    trainings: list[int]
    unconverged: int
    lost: list[bool]

    @classmethod
    def of(cls, miners: Sequence["Miner"]) -> "SvmReport":
        """Return the course of the mining by ``miners``, one a class."""
        return cls(
            [len(miner.positives) for miner in miners],
            [miner.trained_on for miner in miners],
            [miner.trainings for miner in miners],
            sum(miner.unconverged for miner in miners),
            [miner.lost for miner in miners],
        )

    def as_json(self) -> dict[str, int]:
        """Return the sums over all classes, as metrics."""
        return {
            "positives": sum(self.positives),
            "negatives": sum(self.negatives),
            "trainings": sum(self.trainings),
            "unconverged_trainings": self.unconverged,
        }

    def table(self, classes: Sequence[str]) -> str:
        """Return a line a class for the terminal, and a warning for each class that is lost."""
        rows = zip(classes, self.positives, self.negatives, self.trainings, strict=True)
        lines = [f"{name}: {p} objects, {n} negatives, {t} trainings" for name, p, n, t in rows]
        lines += [
            f"warning: no object of {name} scores above its hardest negative; a greater svm.C would be right."
            for name, lost in zip(classes, self.lost, strict=True)
            if lost
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Elsewhere:
    """Workers that train SVMs in place of this machine's processes; they read the features themselves.

    A worker gets the keys of a class's negatives and returns the SVM, which is small: no feature travels, and this
    process keeps none.

    Attributes:
        executor: of the workers.
        load: gives a worker the regions of some splits; it travels, so a function of a module or a `partial` of one.
        splits: of the regions, in their order.
        whole: whether the features of a region may differ in last bits by the regions of the image that are computed
            with it; workers then compute those of the whole image, as the pass does.
    """

    executor: Executor
    load: "Callable[[tuple[str, ...]], TrainingSet]"
    splits: tuple[str, ...]
    whole: bool


def train_svms(
    regions: TrainingSet,
    settings: Svm,
    *,
    seed: int,
    workers: int,
    elsewhere: Elsewhere | None = None,
    kept: Path | None = None,
) -> tuple[LinearModel, SvmReport]:
    """Train the SVMs of all classes in one pass over the cache; classes are trained in parallel.

    A class without an object, or without a negative, gets a bias of minus infinity: it is never detected. Memory holds
    the positives, one block of the cache, and at most ``max_negatives`` negatives a class; with ``elsewhere`` the block
    alone.

    Args:
        regions: of all images.
        settings: of the SVMs.
        seed: of the trainings.
        workers: processes of this machine that train.
        elsewhere: who trains in their place; it changes no byte.
        kept: a folder for finished trainings; called again with the same folder, only the missing ones are made.

    Raises:
        InputError: a feature is NaN or infinite, or a worker has another version of the solver.
    """
    scale = settings.feature_norm / regions.mean_norm(settings.layer, seed, all_follow=True)
    miners = [Miner(label, settings, scale, seed) for label in range(1, len(regions.classes) + 1)]
    trainings = Trainings(workers, elsewhere, kept)
    _collect_positives(regions, settings.layer, miners, held=elsewhere is None)
    for _ in range(settings.passes):
        title = f"mining hard negatives, {len(miners)} classes"
        for image, features in progress(regions.images(settings.layer), title, total=len(regions)):
            overlaps = image.overlaps(len(miners))
            scores = _model(miners, scale, settings.layer, features.shape[1])(features)
            # Minus infinity is the score of a class without an SVM; other features than finite ones give NaN.
            regions.check(image, settings.layer, np.where(scores == -np.inf, 0, scores))
            held = features if elsewhere is None else features[:, :0]  # workers read what the keys name
            for label, miner in enumerate(miners):
                eligible = image.usable & (overlaps[:, label] < settings.negative_iou)
                miner.look_at(held, scores[:, label], eligible, image.key)
            if due := [miner for miner in miners if miner.due()]:
                trainings.make(due)
    trainings.make([miner for miner in miners if miner.fresh])
    return _model(miners, scale, settings.layer, regions.width(settings.layer)), SvmReport.of(miners)


class Rows(Protocol):
    """The features of an image's regions: an array ``(N, width)``, or windows that are cut out when asked for."""

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray:
        """Return the features of some regions, ``(len(rows), width)``."""
        ...


@dataclass
class Miner:
    """One class: its positives, the negatives kept so far, and the current SVM.

    The place of a negative in its image is its row. Where workers read the features, positives and negatives are rows
    without a value.
    """

    label: int
    settings: Mining
    scale: float
    seed: int
    positives: NDArray = field(default_factory=lambda: np.zeros((0, 0), np.float16))
    negatives: Negatives = field(default_factory=lambda: Negatives.none(0, 1))
    weights: NDArray[np.float32] | None = None
    bias: float = -np.inf
    trained_on: int = 0
    trainings: int = 0
    unconverged: int = 0
    lost: bool = False

    @property
    def fresh(self) -> int:
        """Negatives that no SVM has seen."""
        return self.negatives.fresh

    def look_at(self, features: Rows, scores: NDArray, eligible: NDArray, image: tuple[int, int]) -> None:
        """Take the negatives of one image: all before the first training, the hard ones after it, none twice."""
        if not len(self.positives):
            return
        hard = eligible & ((scores > self.settings.hard_above) if self.weights is not None else True)
        hard[self.negatives.held(image)[:, 0]] = False
        rows = np.flatnonzero(hard)
        if len(rows):
            self.negatives.add(features[rows], image, rows[:, None])

    def due(self) -> bool:
        """Whether it is time to train: at once with the first negatives, later after enough new ones."""
        return self.fresh > (self.settings.retrain_after if self.weights is not None else 0)

    def accept(self, svm: "_Svm") -> None:
        """Take a newly trained SVM, and drop the negatives that are easy for it."""
        self.weights, self.bias, self.lost = svm.weights, svm.bias, svm.lost
        self.trained_on = len(svm.scores)
        self.trainings += 1
        self.unconverged += not svm.converged
        self.negatives.drop(svm.scores, self.settings.evict_below, self.settings.max_negatives)


@dataclass(frozen=True)
class _Svm:
    """One trained SVM; ``scores`` are those of its negatives, ``lost`` says that no object scores above all of them."""

    weights: NDArray[np.float32]
    bias: float
    scores: NDArray[np.float64]
    converged: bool
    lost: bool

    def save(self, file: Path) -> None:
        """Write it whole, or not at all."""
        with atomic(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **vars(self))

    @classmethod
    def load(cls, file: Path) -> "_Svm":
        """Read what `save` wrote."""
        with np.load(file) as saved:
            flags = {name: saved[name].item() for name in ("bias", "converged", "lost")}
            return cls(weights=saved["weights"], scores=saved["scores"], **flags)


def _fit(positives: NDArray, negatives: NDArray, scale: float, settings: Mining, seed: int) -> _Svm:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC
    from threadpoolctl import threadpool_limits

    svm = LinearSVC(
        loss="hinge",
        C=settings.C,
        intercept_scaling=settings.bias_scale,
        class_weight={1: settings.positive_weight},
        tol=settings.tolerance,
        max_iter=settings.max_iterations,
        random_state=seed % (1 << 32),
    )
    samples = np.concatenate([positives, negatives]).astype(np.float64) * scale
    labels = np.arange(len(samples)) < len(positives)
    with warnings.catch_warnings(), threadpool_limits(1):  # the number of threads can change last bits
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm.fit(samples, labels.astype(np.int64))
        scores = svm.decision_function(samples)
    converged = bool(svm.n_iter_ < settings.max_iterations)
    objects, others = scores[labels], scores[~labels]
    lost = bool(objects.max() <= others.max())
    return _Svm(svm.coef_[0].astype(np.float32), float(svm.intercept_[0]), others, converged, lost)


def _collect_positives(regions: TrainingSet, layer: str, miners: Sequence[Miner], *, held: bool) -> None:
    objects: list[list[NDArray]] = [[] for _ in miners]
    without = ((image, np.empty((len(image.rows), 0), np.float16)) for image in regions.regions())
    found = regions.objects(layer) if held else without
    for image, features in progress(found, "collecting objects", total=len(regions)):
        regions.check(image, layer, features)
        for row, label in enumerate(image.labels.tolist()):
            objects[label - 1].append(features[row])
    for miner, rows in zip(miners, objects, strict=True):
        if rows:
            miner.positives = np.stack(rows)


@dataclass(frozen=True)
class Trainings:
    """Trains classes beside each other; see `train_svms` for what it is given."""

    workers: int
    elsewhere: Elsewhere | None = None
    kept: Path | None = None

    def make(self, miners: Sequence[Miner]) -> None:
        """Train ``miners``, or take over what an interrupted run trained."""
        missing = []
        for miner in miners:
            miner.negatives.join()
            file = self._file(miner)
            if file is not None and file.is_file():
                miner.accept(_Svm.load(file))
            else:
                missing.append(miner)
        for miner, svm in self._trained(missing):
            if (file := self._file(miner)) is not None:
                svm.save(file)
            miner.accept(svm)

    def _trained(self, miners: Sequence[Miner]) -> Iterator[tuple[Miner, _Svm]]:
        if self.elsewhere is not None:
            there = self.elsewhere
            fit = partial(_fit_there, partial(there.load, there.splits), there.whole, _solver())
            yield from completed(there.executor, fit, miners)
            return
        # In processes: liblinear's random numbers come from one stream for all threads.
        from joblib import Parallel, delayed

        work = (delayed(_fit)(m.positives, m.negatives.features, m.scale, m.settings, m.seed) for m in miners)
        parallel = Parallel(n_jobs=max(1, min(self.workers, len(miners))), return_as="generator")
        yield from zip(miners, parallel(work), strict=True)

    def _file(self, miner: Miner) -> Path | None:
        return self.kept and self.kept / f"{miner.label}-{miner.trainings}.npz"


def _solver() -> str:
    """Return the version of the solver; no cache depends on it, so clusters do not compare it."""
    return version("scikit-learn")


def _fit_there(load: Callable[[], TrainingSet], whole: bool, solver: str, miner: Miner) -> _Svm:
    """Train the SVM of a miner that holds no features, on a worker."""
    if solver != _solver():
        raise InputError(
            f"runtime.cluster: a worker has scikit-learn {_solver()}, this machine {solver}; the same would be right."
        )
    assert isinstance(miner.settings, Svm)
    regions, layer = load(), miner.settings.layer
    positives = np.concatenate(list(_objects(regions, layer, miner.label)))
    negatives = np.concatenate(list(_named(regions, layer, miner.negatives.keys, whole)))
    return _fit(positives, negatives, miner.scale, miner.settings, miner.seed)


def _objects(regions: TrainingSet, layer: str, label: int) -> Iterator[NDArray]:
    for image in regions.regions():
        if label in image.labels:
            features = regions.rows(image.key, layer, image.rows)  # of all objects, as `_collect_positives` reads them
            regions.check(image, layer, features)
            yield features[image.labels == label]


def _named(regions: TrainingSet, layer: str, keys: NDArray[np.int64], whole: bool) -> Iterator[NDArray]:
    starts = np.flatnonzero((keys[1:, :2] != keys[:-1, :2]).any(axis=1)) + 1
    for part in np.split(keys, starts):
        (cache, image), rows = part[0, :2].tolist(), part[:, 2]
        features = regions.caches[cache]
        yield features.image(image, layer)[rows] if whole else features.rows(image, layer, rows)


def _model(miners: Sequence[Miner], scale: float, layer: str, width: int) -> LinearModel:
    return LinearModel(
        weights=np.stack([np.zeros(width, np.float32) if m.weights is None else m.weights for m in miners]),
        bias=np.array([miner.bias for miner in miners], np.float32),
        scale=scale,
        layer=layer,
    )
