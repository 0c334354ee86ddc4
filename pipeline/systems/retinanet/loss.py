"""The losses of RetinaNet: focal loss over all anchors and classes, smooth L1 over the anchors of objects (section 3).

Each class of each anchor is a yes or no of its own, background is all no. Both terms are sums over a batch, divided by
the number of its positive anchors: most of the loss of 100,000 easy anchors is near 0, so their number says nothing.
"""

import torch
from torch.nn import functional as F

from pipeline.core.boxes import nms
from pipeline.systems.retinanet.params import ClassLoss, Ohem


def focal_loss(logits: torch.Tensor, truth: torch.Tensor, gamma: float, alpha: float | None) -> torch.Tensor:
    """Return ``-alpha_t (1 - p_t)^gamma log p_t`` of each yes or no, in the shape of both (equation 5).

    ``p_t`` is the probability of the right answer. ``alpha_t`` is ``alpha`` where that is yes, else one less it; None:
    1 for both. A gamma of 0 gives the cross entropy.

    Args:
        logits: before the sigmoid.
        truth: bool.
    """
    wrong = torch.where(truth, -logits, logits)  # the logit of the wrong answer: 1 - p_t before the sigmoid
    errors = F.softplus(wrong)
    if gamma:
        errors = wrong.sigmoid() ** gamma * errors
    if alpha is None:
        return errors
    return errors * torch.where(truth, alpha, 1 - alpha)


def class_loss(logits: torch.Tensor, labels: torch.Tensor, anchors: torch.Tensor, settings: ClassLoss) -> torch.Tensor:
    """Return the sum over a batch of the loss that ``settings`` chooses, without anchors that train nothing.

    Args:
        logits: ``(N, A, classes)``.
        labels: ``(N, A)`` int64, 0 for background, -1 for anchors that train nothing.
        anchors: ``(A, 4)``.
        settings: which loss.
    """
    truth = labels[..., None] == torch.arange(1, logits.shape[2] + 1, device=labels.device)
    gamma = settings.gamma if settings.kind == "focal" else 0
    errors = focal_loss(logits, truth, gamma, settings.alpha).sum(2).where(labels >= 0, 0)
    if settings.kind == "ohem":
        errors = errors.where(hard_examples(errors.detach(), anchors, settings.ohem), 0)
    return errors.sum()


def hard_examples(errors: torch.Tensor, anchors: torch.Tensor, settings: Ohem) -> torch.Tensor:
    """Return which anchors count, ``(N, A)`` bool: in each image those with the greatest ``errors`` (N, A).

    They are suppressed as detections are, with the error for a score, so that one place counts once (Shrivastava et
    al., Training region-based object detectors with online hard example mining, section 4).
    """
    chosen = torch.zeros_like(errors, dtype=torch.bool)
    for image, scores in enumerate(errors):
        chosen[image, nms(anchors, scores, settings.nms, most=settings.anchors)] = True
    return chosen


def box_loss(offsets: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor, beta: float) -> torch.Tensor:
    """Return the sum of smooth L1 over the anchors of objects in a batch: ``x^2 / (2 beta)`` up to ``beta``.

    Args:
        offsets: ``(N, A, 4)``.
        targets: ``(N, A, 4)``; those of other anchors count for nothing, but are finite.
        labels: ``(N, A)``, above 0 for objects.
        beta: 0 gives the absolute error.
    """
    return F.smooth_l1_loss(offsets.where(labels[..., None] > 0, targets), targets, reduction="sum", beta=beta)
