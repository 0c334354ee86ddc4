"""Faster R-CNN at test: one map an image, proposals from it, and the detector on the same map (section 3.2)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.clock import NULL_CLOCK, Clock
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.detectors.fast_rcnn.postprocess import postprocess
from pipeline.detectors.fast_rcnn.score import ScoredRegions, score_regions
from pipeline.detectors.faster_rcnn.network import RegionProposalNetwork
from pipeline.detectors.faster_rcnn.proposals import propose
from pipeline.detectors.faster_rcnn.resized import resized
from pipeline.errors import InputError
from pipeline.evaluation.budget import LeastScores
from pipeline.evaluation.detections import Detections
from pipeline.params.faster_rcnn import FasterDetection
from pipeline.runtime import progress


def check_shared(rpn: RegionProposalNetwork, detector: FastRcnn) -> None:
    """Check that both networks have the same convolutions, so that one map serves both.

    Raises:
        InputError: a weight differs.
    """
    ours, theirs = rpn.conv.state_dict(), detector.conv.state_dict()
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
        raise InputError(
            "the proposal network and the detector have different convolutions; faster_rcnn_rpn2 and "
            "faster_rcnn_detector2 train with frozen ones, both those of faster_rcnn_detector1."
        )


def detect(
    rpn: RegionProposalNetwork,
    detector: FastRcnn,
    records: Sequence[ImageRecord],
    root: Path,
    settings: FasterDetection,
    device: torch.device,
) -> tuple[Detections, LeastScores]:
    """Detect in the images ``records``, files below ``root``, at the networks' first scale; see `postprocess`.

    Raises:
        InputError: the networks do not share their convolutions.
    """
    check_shared(rpn, detector)
    for network in (rpn, detector):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scored() -> Iterator[tuple[int, ScoredRegions]]:
        for record in progress(records, "detecting"):
            (regions,) = score_images(rpn, detector, [read_image(root / record.file)], settings, device)
            yield record.id, regions

    return postprocess(scored(), settings)


@torch.inference_mode()
def score_images(
    rpn: RegionProposalNetwork,
    detector: FastRcnn,
    images: Sequence[NDArray[np.uint8]],
    settings: FasterDetection,
    device: torch.device,
    clock: Clock = NULL_CLOCK,
) -> list[ScoredRegions]:
    """Score the networks' own proposals in ``images`` ``(H, W, 3)``, which have one size and share a forward pass.

    ``clock`` times ``convolution``, ``proposals`` (of the network's) and what `score_regions` times.
    """
    with clock.phase("convolution"):
        seen = resized(images, rpn.shape, device)
        maps = rpn.conv(seen.pixels)
    found = []
    for own in maps.split(1):
        with clock.phase("proposals"):
            boxes = propose(rpn, own, seen.shape, seen.factor, seen.size, settings.proposals)
        found.append(score_regions(detector, own, [seen.factor], boxes, *seen.size, settings.box_regression, clock))
    return found
