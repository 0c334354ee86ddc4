"""Fast R-CNN at test: one image among its proposals, and one pass over the images of a split."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.boxes import Boxes
from pipeline.clock import NULL_CLOCK, Clock
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.detectors.fast_rcnn.postprocess import postprocess
from pipeline.detectors.fast_rcnn.score import ScoredRegions, image_maps, score_regions
from pipeline.evaluation.budget import LeastScores
from pipeline.evaluation.detections import Detections
from pipeline.params.fast_rcnn import RegionScoring
from pipeline.runtime import progress


def load_network(folder: Path, compressed: bool) -> FastRcnn:
    """Read the network that is tested from the models in ``folder``: as it was trained, or with a truncated SVD."""
    if compressed:
        return FastRcnn.load(folder / "compressed.safetensors", "fast_rcnn_svd")
    return FastRcnn.load(folder / "detector.safetensors", "fast_rcnn_classifier")


def score_image(
    network: FastRcnn,
    image: NDArray[np.uint8],
    boxes: Boxes,
    regress: bool,
    device: torch.device,
    clock: Clock = NULL_CLOCK,
) -> ScoredRegions:
    """Score ``boxes`` (R, 4), which may be none, of ``image`` (H, W, 3); ``network`` is on ``device``."""
    with clock.phase("convolution"):
        maps, factors = image_maps(network, image, device)
    return score_regions(network, maps, factors, boxes, image.shape[1], image.shape[0], regress, clock)


def detect(
    network: FastRcnn,
    records: Sequence[ImageRecord],
    proposals: Sequence[Boxes],
    root: Path,
    settings: RegionScoring,
    device: torch.device,
) -> tuple[Detections, LeastScores]:
    """Detect in the images ``records``, files below ``root``, among their ``proposals``; see `postprocess`."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scored() -> Iterator[tuple[int, ScoredRegions]]:
        for record, boxes in zip(progress(records, "detecting"), proposals, strict=True):
            image = read_image(root / record.file)
            yield record.id, score_image(network, image, boxes, settings.box_regression, device)

    return postprocess(scored(), settings)
