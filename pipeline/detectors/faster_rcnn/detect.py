"""Faster R-CNN at test: one map an image, proposals from it, and the detector on the same map (section 3.2)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.detectors.fast_rcnn.postprocess import postprocess
from pipeline.detectors.fast_rcnn.score import ScoredRegions, score_regions
from pipeline.detectors.faster_rcnn.network import RegionProposalNetwork
from pipeline.detectors.faster_rcnn.proposals import propose
from pipeline.errors import InputError
from pipeline.evaluation.detections import Detections
from pipeline.imaging.image_batches import pad, pixels
from pipeline.imaging.resize import scale_factor
from pipeline.params import FasterDetection
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
) -> Detections:
    """Detect in the images ``records``, files below ``root``, at the networks' first scale.

    Raises:
        InputError: the networks do not share their convolutions.
    """
    check_shared(rpn, detector)
    for network in (rpn, detector):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def one(record: ImageRecord) -> ScoredRegions:
        factor = scale_factor(record.width, record.height, rpn.shape.short_sides[0], rpn.shape.long_side)
        image = pad([pixels(read_image(root / record.file), factor)], device)
        maps, (height, width) = rpn.conv(image), image.shape[2:]
        boxes = propose(rpn, maps, (height, width), factor, record, settings.proposals)
        return score_regions(detector, maps, [factor], boxes, record.width, record.height, settings.box_regression)

    def scored() -> Iterator[tuple[int, ScoredRegions]]:
        return ((record.id, one(record)) for record in progress(records, "detecting"))

    return postprocess(scored(), settings)
