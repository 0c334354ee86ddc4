"""Fast R-CNN at test: one pass over the images of a split."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from pipeline.boxes import Boxes
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.detectors.fast_rcnn.postprocess import postprocess
from pipeline.detectors.fast_rcnn.score import ScoredRegions, image_maps, score_regions
from pipeline.evaluation.detections import Detections
from pipeline.params import RegionScoring
from pipeline.runtime import progress


def detect(
    network: FastRcnn,
    records: Sequence[ImageRecord],
    proposals: Sequence[Boxes],
    root: Path,
    settings: RegionScoring,
    device: torch.device,
) -> Detections:
    """Detect in the images ``records``, files below ``root``, among their ``proposals``."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scored() -> Iterator[tuple[int, ScoredRegions]]:
        for record, boxes in zip(progress(records, "detecting"), proposals, strict=True):
            maps, factors = image_maps(network, read_image(root / record.file), device)
            found = score_regions(network, maps, factors, boxes, record.width, record.height, settings.box_regression)
            yield record.id, found

    return postprocess(scored(), settings)
