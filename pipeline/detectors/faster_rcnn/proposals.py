"""From scored anchors to proposals (Faster R-CNN, section 3.3; ``lib/rpn/proposal_layer.py``)."""

import numpy as np
import torch

from pipeline.boxes import Boxes, as_boxes, clip, decode, nms
from pipeline.detectors.faster_rcnn.network import RegionProposalNetwork
from pipeline.params.faster_rcnn import RpnProposals


@torch.inference_mode()
def propose(
    network: RegionProposalNetwork,
    maps: torch.Tensor,
    shape: tuple[int, int],
    factor: float,
    size: tuple[int, int],
    settings: RpnProposals,
) -> Boxes:
    """Return the proposals of one image, best first, in pixels of the original image: ``(N, 4)``.

    Every anchor is moved by its offsets and clipped; boxes with a side below ``min_side`` are dropped, then come the
    ``before`` best (0: all), suppression of overlaps above ``nms``, and the ``after`` best.

    Args:
        network: on the device of ``maps``.
        maps: ``(1, channels, rows, columns)``, of one image.
        shape: its height and width after resizing.
        factor: by which it was resized.
        size: ``(width, height)`` of the original image.
        settings: thresholds and numbers of boxes.
    """
    scores, offsets = network.head(maps)
    objectness = (scores[0, :, 1] - scores[0, :, 0]).cpu().numpy()
    moved = as_boxes(decode(network.anchors(*shape), offsets[0].cpu().numpy())) / np.float32(factor)
    boxes = clip(moved, *size)
    large = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= max(settings.min_side, 1e-3)).all(axis=1))
    best = large[np.argsort(-objectness[large], kind="stable")[: settings.before or None]]
    return boxes[best][nms(boxes[best], objectness[best], settings.nms)[: settings.after]]
