"""Ridge regression from a region's features to the box of its object (R-CNN, appendix C; ``bbox_regression/``)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes, best_match, decode, encode, iou
from pipeline.core.errors import InputError
from pipeline.core.runtime import item_rng, progress
from pipeline.core.sections import BoxRegression
from pipeline.linear.model import LinearModel
from pipeline.linear.training_set import ImageRegions, TrainingSet, held_out

# Memory for the samples of the classes that are fitted in one pass over the cache.
PASS_BYTES = 1 << 30
# Keeps the whitening finite where a coordinate does not vary; the official code's constant.
_COVARIANCE_FLOOR = 0.001


@dataclass(frozen=True)
class BoxRegressor:
    """Four linear outputs a class: the offsets of `boxes.encode`, class after class.

    Attributes:
        model: ``classes * 4`` outputs; a class that could not be learned has a bias of minus infinity.
    """

    model: LinearModel

    def __call__(self, features: NDArray, boxes: Boxes, labels: NDArray[np.int64]) -> Boxes:
        """Return ``boxes`` (N, 4) moved by the regressor of each one's class ``labels`` (N,), not clipped.

        ``features`` are ``(N, width)``. Boxes of classes without a regressor stay.
        """
        outputs = self.model(features).reshape(len(boxes), len(self.model.bias) // 4, 4)
        offsets = outputs[np.arange(len(boxes)), labels - 1]
        offsets[~np.isfinite(offsets).all(axis=1)] = 0
        return as_boxes(decode(boxes, offsets))

    def save(self, path: Path) -> None:
        """Write the regressor as safetensors."""
        self.model.save(path)

    @classmethod
    def load(cls, path: Path, stage: str) -> "BoxRegressor":
        """Read a regressor that `save` wrote; ``stage`` names its writer in errors."""
        return cls(LinearModel.load(path, stage))


def train_box_regressors(
    regions: TrainingSet, settings: BoxRegression, ridges: Sequence[float], *, seed: int
) -> tuple[list[BoxRegressor], list[int]]:
    """Fit a regressor for each of ``ridges``, and return them with the number of samples of each class.

    A sample is a region whose best overlap is more than ``min_iou``; it belongs to that object's class. Ground-truth
    boxes are samples too, with zero offsets. Regions in a crowd are none. The bias is a feature of 1, so it is
    penalised as well. Classes are fitted in as few passes over the cache as fit in memory.
    """
    scale = settings.feature_norm / regions.mean_norm(settings.layer, seed)
    chosen = _choose(regions, settings, seed)
    width = regions.width(settings.layer)
    weights = np.zeros((len(ridges), len(regions.classes), 4, width), np.float32)
    bias = np.full((len(ridges), len(regions.classes), 4), -np.inf, np.float32)
    for number, labels in enumerate(_passes(chosen, width), 1):
        samples = _read(regions, settings.layer, {label: chosen[label] for label in labels}, width, number)
        for label, (features, targets) in samples.items():
            weights[:, label - 1], bias[:, label - 1] = _fit(features, targets, scale, settings.whiten, ridges)
    models = [
        LinearModel(each.reshape(-1, width), constant.reshape(-1), scale, settings.layer)
        for each, constant in zip(weights, bias, strict=True)
    ]
    return [BoxRegressor(model) for model in models], [chosen[label].count for label in sorted(chosen)]


def chosen_ridge(
    regions: TrainingSet, splits: Sequence[str], settings: BoxRegression, key: str, *, seed: int
) -> tuple[float, dict[str, float]]:
    """Return the ridge, and what each candidate makes of val, by the name of a metric.

    A number stays, without candidates. ``auto`` fits a regressor with each of ``ridge_values`` on the splits without
    val and moves those proposals of val that overlap an object by more than ``min_iou``. The ridge is taken after which
    they overlap it best, in the mean over classes of the mean over a class's proposals; of equal ones the first.

    Args:
        regions: of all ``splits``.
        splits: the names of its caches.
        settings: of the regression.
        key: of the parameter, for messages.
        seed: of the fits.

    Raises:
        InputError: ``auto``, and val is not among the splits, is the only one, or has no proposal near an object.
    """
    if settings.ridge != "auto":
        return settings.ridge, {}
    train, val = held_out(regions, splits, key)
    regressors, _ = train_box_regressors(train, settings, settings.ridge_values, seed=seed)
    curve = dict(zip(settings.ridge_values, _mean_overlaps(val, regressors, settings, key), strict=True))
    best = max(curve, key=lambda ridge: curve[ridge])
    print(", ".join(f"ridge {ridge:g}: overlap {value:.3f} on val" for ridge, value in curve.items()), end="; ")
    print(f"{best:g} is taken")
    figures = {f"val_overlap_at_{ridge:g}": round(value, 6) for ridge, value in curve.items()}
    return best, {"ridge": best, **figures}


def _mean_overlaps(
    val: TrainingSet, regressors: Sequence[BoxRegressor], settings: BoxRegression, key: str
) -> list[float]:
    """Return for each regressor how well the moved proposals overlap their objects."""
    labels, overlaps = [], []
    for image in progress(list(val.regions()), "judging ridges on val"):
        rows, best = near_objects(image, settings.min_iou)
        proposals = ~np.isin(rows, image.rows)
        rows, best = rows[proposals], best[proposals]
        features = val.rows(image.key, settings.layer, rows)
        moved = [regressor(features, image.boxes[rows], image.labels[best]) for regressor in regressors]
        each = np.arange(len(rows))
        overlaps.append(np.stack([iou(boxes, image.truth)[each, best] for boxes in moved]))
        labels.append(image.labels[best])
    label, overlap = np.concatenate(labels), np.concatenate(overlaps, axis=1)
    if not len(label):
        raise InputError(
            f"{key} is auto, but no proposal of val overlaps an object by more than {settings.min_iou:g}; a number "
            f"would be right."
        )
    return np.mean([overlap[:, label == each].mean(axis=1) for each in np.unique(label)], axis=0).tolist()


def near_objects(image: ImageRegions, min_iou: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the regions whose best overlap with an object is more than ``min_iou``, and the position of that object.

    Both are ``(n,)`` int64. Regions in a crowd are left out, ground truth is not.
    """
    best, overlap = best_match(image.boxes, image.truth)
    rows = np.flatnonzero(image.usable & (overlap > min_iou))
    return rows, best[rows]


@dataclass(frozen=True)
class _Samples:
    """The samples of one class: their rows and targets, image by image."""

    rows: dict[tuple[int, int], NDArray[np.int64]]
    targets: dict[tuple[int, int], NDArray[np.float32]]

    @property
    def count(self) -> int:
        return sum(len(rows) for rows in self.rows.values())


def _choose(regions: TrainingSet, settings: BoxRegression, seed: int) -> dict[int, _Samples]:
    """Return the samples of each class, by label."""
    chosen = {label: _Samples({}, {}) for label in range(1, len(regions.classes) + 1)}
    for image in regions.regions():
        near, best = near_objects(image, settings.min_iou)
        for label in np.unique(image.labels[best]).tolist():
            own = image.labels[best] == label
            chosen[label].rows[image.key] = near[own]
            chosen[label].targets[image.key] = encode(image.boxes[near[own]], image.truth[best[own]])
    return {label: _thin(samples, settings.max_samples, seed, label) for label, samples in chosen.items()}


def _thin(samples: _Samples, limit: int, seed: int, label: int) -> _Samples:
    """Keep at most ``limit`` samples, drawn evenly over all images."""
    if samples.count <= limit:
        return samples
    keep = np.zeros(samples.count, np.bool_)
    keep[item_rng(seed, "box regression", label).permutation(samples.count)[:limit]] = True
    parts = np.split(keep, np.cumsum([len(rows) for rows in samples.rows.values()])[:-1])
    return _Samples(
        {key: rows[part] for (key, rows), part in zip(samples.rows.items(), parts, strict=True)},
        {key: targets[part] for (key, targets), part in zip(samples.targets.items(), parts, strict=True)},
    )


def _passes(chosen: dict[int, _Samples], width: int) -> Iterator[list[int]]:
    """Yield the classes of each pass over the cache, as many as memory allows and at least one."""
    labels: list[int] = []
    used = 0
    for label, samples in chosen.items():
        size = samples.count * width * 4
        if labels and used + size > PASS_BYTES:
            yield labels
            labels, used = [], 0
        if samples.count:
            labels.append(label)
            used += size
    if labels:
        yield labels


def _read(
    regions: TrainingSet, layer: str, chosen: dict[int, _Samples], width: int, number: int
) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the features of each class's samples, a last column of ones beside them, and the targets."""
    filled = dict.fromkeys(chosen, 0)
    features = {label: np.ones((samples.count, width + 1), np.float32) for label, samples in chosen.items()}
    images = list(regions.regions())
    for image in progress(images, f"reading regions near objects, pass {number}"):
        wanted = {label: samples.rows[image.key] for label, samples in chosen.items() if image.key in samples.rows}
        if not wanted:
            continue
        values = regions.rows(image.key, layer, np.concatenate(list(wanted.values())))
        regions.check(image, layer, values)
        for label, part in zip(
            wanted, np.split(values, np.cumsum([len(rows) for rows in wanted.values()])), strict=False
        ):
            features[label][filled[label] : filled[label] + len(part), :width] = part
            filled[label] += len(part)
    return {
        label: (features[label], np.concatenate(list(samples.targets.values()))) for label, samples in chosen.items()
    }


def _fit(
    features: NDArray[np.float32], targets: NDArray[np.float32], scale: float, whiten: bool, ridges: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights ``(R, 4, width)`` and biases ``(R, 4)`` of one class; ``features`` are scaled in place."""
    features[:, :-1] *= np.float32(scale)
    mean, whitening, restore = _whitening(targets) if whiten else (np.zeros(4), np.eye(4), np.eye(4))
    solution = restore.T @ _solve(features, ((targets - mean) @ whitening).astype(np.float32), ridges)
    return solution[..., :-1].astype(np.float32), (solution[..., -1] + mean).astype(np.float32)


def _solve(features: NDArray[np.float32], targets: NDArray[np.float32], ridges: Sequence[float]) -> NDArray[np.float32]:
    """Return the coefficients ``(R, 4, width + 1)`` of each ridge, whose penalty alone differs.

    The products of features, or of samples where these are fewer, are summed once for all ridges.
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import Ridge

    if len(features) >= features.shape[1]:
        solver = Ridge(alpha=np.repeat(ridges, 4), fit_intercept=False, solver="cholesky", copy_X=False)
        solver.fit(features, np.tile(targets, len(ridges)))
        return solver.coef_.reshape(len(ridges), 4, -1)
    products = features @ features.T
    fits = (KernelRidge(alpha=ridge, kernel="precomputed").fit(products, targets) for ridge in ridges)
    return np.stack([(features.T @ fit.dual_coef_).T for fit in fits])


def _whitening(targets: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray]:
    """Return the targets' mean, the matrix that gives them unit covariance, and its inverse.

    The official code whitens the targets and the paper does not say so (``rcnn_train_bbox_regressor.m``).
    """
    mean = targets.mean(axis=0, dtype=np.float64)
    centred = targets - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(targets))
    root = np.sqrt(np.clip(values, 0, None) + _COVARIANCE_FLOOR)
    return mean, vectors @ np.diag(1 / root) @ vectors.T, vectors @ np.diag(root) @ vectors.T
