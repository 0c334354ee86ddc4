"""Single-shot networks at test: batches of squares, boxes and scores of all classes at once, suppression by class."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.boxes import Boxes, area, clip, nms
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.detectors.single_shot.batches import as_images
from pipeline.evaluation.detections import Detections
from pipeline.imaging.stretch import from_square, stretch
from pipeline.params.single_shot import SquareDetection
from pipeline.runtime import bar, worker_count

Decode = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]

# Batches that are read while the network works on one.
AHEAD = 2


def detect(
    network: torch.nn.Module,
    decode: Decode,
    side: int,
    records: Sequence[ImageRecord],
    root: Path,
    settings: SquareDetection,
    device: torch.device,
    workers: int = 0,
) -> Detections:
    """Detect in the images ``records``, files below ``root``.

    Args:
        network: takes uint8 RGB ``(N, 3, side, side)``.
        decode: turns the network's output into boxes ``(N, K, 4)`` in pixels of the square, not clipped, and scores
            ``(N, K, classes)`` without the background.
        side: of the square, in pixels.
        records: the images.
        root: of their files.
        settings: batch size, least score, suppression and limits.
        device: where the network runs.
        workers: threads that read images, 0: one a core; their number changes nothing.
    """
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval()
    found = []
    with bar("detecting", len(records)) as shown, torch.inference_mode():
        for part, images in read_ahead(records, root, side, settings.batch, workers):
            boxes, scores = (values.cpu().numpy() for values in decode(network(images.to(device))))
            for record, own_boxes, own_scores in zip(part, boxes, scores, strict=True):
                found.append(in_image(own_boxes, own_scores, record.width, record.height, side, settings, record.id))
            shown.update(len(part))
    return Detections.join(found)


def in_image(
    boxes: Boxes,
    scores: NDArray[np.float32],
    width: int,
    height: int,
    side: int,
    settings: SquareDetection,
    image_id: int = 0,
) -> Detections:
    """Return the detections in one image of ``width`` x ``height`` pixels: `select`, then back from the square.

    Boxes are clipped to the image; what lies outside as a whole is dropped. ``boxes`` and ``scores`` as for `select`.
    """
    labels, kept, best = select(boxes, scores, settings)
    own = clip(from_square(kept, width, height, side), width, height)
    everything = Detections(np.full(len(own), image_id, np.int64), labels, own, best)
    return everything.take(area(own) > 0)


def select(
    boxes: Boxes, scores: NDArray[np.float32], settings: SquareDetection
) -> tuple[NDArray[np.int64], Boxes, NDArray[np.float32]]:
    """Return labels, boxes and scores of one image's detections, best first.

    For each class: scores above ``min_score``, of those the ``max_per_class`` best, suppression. Then the
    ``max_per_image`` best of all classes (``detection_output_layer.cpp`` of SSD; darknet's ``do_nms_sort`` has no
    limits).

    Args:
        boxes: ``(K, 4)``, shared by the classes; not clipped, since both official codes suppress before they clip.
        scores: ``(K, classes)`` without the background.
        settings: the limits.
    """
    labels, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for column in np.flatnonzero((scores > settings.min_score).any(axis=0)):
        above = np.flatnonzero(scores[:, column] > settings.min_score)
        best = above[np.argsort(-scores[above, column], kind="stable")[: settings.max_per_class]]
        kept = best[nms(boxes[best], scores[best, column], settings.nms)]
        rows.append(kept)
        labels.append(np.full(len(kept), column + 1, np.int64))
    row, label = np.concatenate(rows), np.concatenate(labels)
    score = scores[row, label - 1]
    order = np.argsort(-score, kind="stable")[: settings.max_per_image]
    return label[order], boxes[row[order]], score[order]


def read_ahead(
    records: Sequence[ImageRecord], root: Path, side: int, batch: int, workers: int
) -> Iterator[tuple[Sequence[ImageRecord], torch.Tensor]]:
    """Yield ``batch`` records at a time and their images, uint8 ``(N, 3, side, side)``, read by other threads."""

    def read(record: ImageRecord) -> NDArray[np.uint8]:
        return stretch(read_image(root / record.file), side)

    pending: deque[tuple[Sequence[ImageRecord], list[Future[NDArray[np.uint8]]]]] = deque()
    with ThreadPoolExecutor(worker_count(workers), thread_name_prefix="reader") as pool:
        for start in range(0, len(records), batch):
            part = records[start : start + batch]
            pending.append((part, [pool.submit(read, record) for record in part]))
            if len(pending) > AHEAD:
                yield _read(*pending.popleft())
        while pending:
            yield _read(*pending.popleft())


def _read(
    part: Sequence[ImageRecord], images: list[Future[NDArray[np.uint8]]]
) -> tuple[Sequence[ImageRecord], torch.Tensor]:
    return part, as_images([image.result() for image in images])
