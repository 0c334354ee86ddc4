"""Classification of whole images: one linear SVM a class on pooled features of unit norm (SPP-net, section 3.3)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.data.index import ImageRecord
from pipeline.evaluation.voc import area_ap, eleven_point_ap
from pipeline.linear.model import LinearModel


def presence(images: Sequence[ImageRecord], classes: int) -> NDArray[np.int8]:
    """Return the classes in each image, ``(images, classes)``: 1 present, 0 absent, -1 with difficult objects only."""
    present = np.zeros((len(images), classes), np.int8)
    for row, image in enumerate(images):
        present[row, image.labels[image.ignore] - 1] = -1
        present[row, image.labels[~image.ignore] - 1] = 1
    return present


def unit_norm(features: NDArray) -> NDArray[np.float32]:
    """Return ``features`` ``(N, width)`` as float32 rows of L2 norm 1; rows of zeros stay."""
    values = features.astype(np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)


def train_image_svms(features: NDArray[np.float32], present: NDArray[np.int8], C: float, seed: int) -> LinearModel:
    """Train one SVM a class on all images but those that show only difficult objects of it.

    Args:
        features: ``(images, width)``, unit norm.
        present: ``(images, classes)``, see `presence`.
        C: of the SVMs.
        seed: of the solver.

    A class that all or none of the images show gets a bias of minus infinity.
    """
    from sklearn.svm import LinearSVC

    weights = np.zeros((present.shape[1], features.shape[1]), np.float32)
    bias = np.full(present.shape[1], -np.inf, np.float32)
    for label in range(present.shape[1]):
        clear = present[:, label] >= 0
        truth = present[clear, label] == 1
        if truth.any() and not truth.all():
            svm = LinearSVC(C=C, random_state=seed % (1 << 32)).fit(features[clear], truth)
            weights[label], bias[label] = svm.coef_[0], svm.intercept_[0]
    return LinearModel(weights, bias, 1.0, "pyramid")


def classification_metrics(scores: NDArray[np.float32], present: NDArray[np.int8]) -> dict[str, float | int | None]:
    """Return the mean AP over the classes that some image shows, as VOC computes it for classification.

    Args:
        scores: ``(images, classes)``.
        present: ``(images, classes)``; images of -1 do not count for the class.
    """
    eleven, area = [], []
    for label in np.flatnonzero((present == 1).any(axis=0)).tolist():
        clear = present[:, label] >= 0
        truth = present[clear, label] == 1
        right = truth[np.argsort(-scores[clear, label], kind="stable")]
        hits = np.cumsum(right)
        recall, precision = hits / hits[-1], hits / np.arange(1, len(hits) + 1)
        eleven.append(eleven_point_ap(recall, precision))
        area.append(area_ap(recall, precision))
    return {
        "images": len(scores),
        "classes": len(eleven),
        "map_voc07": float(np.mean(eleven)) if eleven else None,
        "map_voc": float(np.mean(area)) if area else None,
    }
