"""The multi-box loss (SSD, section 2.2): confidence over mined boxes, localisation over the matched ones."""

import torch
from torch.nn import functional as F


def multibox_losses(
    scores: torch.Tensor, offsets: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, negatives: float
) -> dict[str, torch.Tensor]:
    """Return both terms, summed and divided by the number of matched boxes in the batch; 0 without any.

    Args:
        scores: ``(N, A, classes + 1)``, before the softmax, the background first.
        offsets: ``(N, A, 4)``.
        labels: ``(N, A)`` int64, 0 for background.
        targets: ``(N, A, 4)`` offsets; those of background boxes are never read.
        negatives: background boxes an image, for each matched one.
    """
    matched = labels > 0
    errors = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
    counted = matched | hard_negatives(errors.detach(), matched, negatives)
    count = matched.sum().clamp(min=1)
    box = F.smooth_l1_loss(offsets[matched], targets[matched], reduction="sum")
    return {"confidence": errors[counted].sum() / count, "box": box / count}


def hard_negatives(errors: torch.Tensor, matched: torch.Tensor, ratio: float) -> torch.Tensor:
    """Return which background boxes count, ``(N, A)`` bool: in each image those with the greatest error.

    There are ``ratio`` times as many as matched boxes in the image, so an image without objects has none. A box that
    overlaps an object by the matching threshold is matched, so every other one may serve as background.

    Args:
        errors: ``(N, A)`` softmax loss of each box against its label.
        matched: ``(N, A)`` bool.
        ratio: background boxes for each matched one.
    """
    candidates = errors.masked_fill(matched, -torch.inf)
    ranks = candidates.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (ranks < ratio * matched.sum(dim=1, keepdim=True)) & ~matched
