"""The loss of the proposal network (Faster R-CNN, section 3.1.2), one function a term."""

import torch
from torch.nn import functional as F

from pipeline.detectors.fast_rcnn.loss import smooth_l1


def objectness_loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the softmax cross-entropy of ``scores`` (S, 2) of the sampled anchors, averaged; 0 without any."""
    return F.cross_entropy(scores, labels, reduction="sum") / max(1, len(labels))


def offset_loss(offsets: torch.Tensor, targets: torch.Tensor, normaliser: int, sigma: float) -> torch.Tensor:
    """Return the smooth L1 error of the object anchors' ``offsets`` (P, 4), summed and divided by ``normaliser``.

    The normaliser is the number of anchor positions in the paper, the number of sampled anchors in the Python code.
    """
    return smooth_l1(offsets, targets, sigma) / max(1, normaliser)
