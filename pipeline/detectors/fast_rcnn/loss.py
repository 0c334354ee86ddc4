"""The multi-task loss of Fast R-CNN (section 2.3), one function a term."""

import torch
from torch.nn import functional as F


def score_loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the softmax cross-entropy of ``scores`` (R, classes + 1), averaged over the regions; 0 without any."""
    return F.cross_entropy(scores, labels, reduction="sum") / max(1, len(labels))


def box_loss(offsets: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    """Return the smooth L1 error of the offsets of each foreground region's class.

    The sum over foreground regions is divided by the number of all regions, as Caffe's layer does.

    Args:
        offsets: ``(R, classes + 1, 4)``.
        labels: ``(R,)`` int64, 0 for background.
        targets: ``(R, 4)``; a background region's are never read.
        sigma: the error is ``0.5 * (sigma * x)**2`` up to ``|x| = 1 / sigma**2``, then ``|x| - 0.5 / sigma**2``.
    """
    rows = torch.nonzero(labels > 0).squeeze(1)
    return smooth_l1(offsets[rows, labels[rows]], targets[rows], sigma) / max(1, len(labels))


def smooth_l1(values: torch.Tensor, targets: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return the sum of the smooth L1 error; torch's ``beta`` is ``1 / sigma**2``."""
    return F.smooth_l1_loss(values, targets, reduction="sum", beta=1 / sigma**2)
