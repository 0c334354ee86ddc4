"""The batch of a step for networks that see a whole image as one square: augmented, then stretched.

Single-shot networks at test: batches of squares, boxes and scores of all classes at once, suppression by class.

YOLO and SSD on pictures: squares, one pass for all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core import runtime
from pipeline.core.boxes import Boxes, area, clip, nms
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.runtime import bar, item_rng, worker_count
from pipeline.core.sections import SquareDetection
from pipeline.data.images import ImageCache, read_image
from pipeline.data.index import ImageRecord
from pipeline.detector import Description, Found, Picture, opened, read_description
from pipeline.evaluation.detections import Detections
from pipeline.imaging import ImageOrder, from_square, stretch, to_square
from pipeline.systems.ssd.network import Ssd
from pipeline.systems.yolo.network import Yolo

Sample = tuple[NDArray[np.uint8], Boxes, NDArray[np.int64]]


class Augment(Protocol):
    """Makes another sample of a sample.

    It gets and returns an image ``(H, W, 3)`` uint8 RGB, boxes ``(n, 4)`` in pixels of that image and labels ``(n,)``;
    all three may change in size, and ``n`` may be 0. It must not change its arguments, which are cached. Boxes that it
    returns lie inside its image and have an area. Loader processes pickle it.
    """

    def __call__(
        self, image: NDArray[np.uint8], boxes: Boxes, labels: NDArray[np.int64], rng: np.random.Generator
    ) -> Sample:
        """Return the sample that ``rng`` draws."""
        ...


@dataclass(frozen=True)
class SquareBatch:
    """A step's images and objects.

    Attributes:
        images: ``(N, 3, side, side)`` uint8 RGB, channels last in memory.
        boxes: of each image, ``(n, 4)`` float32 in pixels of the square.
        labels: of each image, ``(n,)`` int64, category ids from 1.
        image_ids: of the images.
    """

    images: torch.Tensor
    boxes: tuple[torch.Tensor, ...]
    labels: tuple[torch.Tensor, ...]
    image_ids: tuple[int, ...]


def to_device(batch: SquareBatch, device: torch.device) -> SquareBatch:
    """Move a batch to ``device``; the images stay uint8, a quarter of their size as floats."""
    return replace(
        batch,
        images=batch.images.to(device),
        boxes=tuple(boxes.to(device) for boxes in batch.boxes),
        labels=tuple(labels.to(device) for labels in batch.labels),
    )


class SquareBatches:
    """Makes the batch of a step; an image without objects trains as well as any other.

    Args:
        records: the images that are trained on.
        images: their pixels.
        augment: applied to every image before it is stretched.
        side: of the square, in pixels.
        per_step: images in a batch.
        difficult: whether difficult objects are trained on; else they are background.
        seed: decides order and augmentation.

    Raises:
        InputError: no image has an object to train on.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        images: ImageCache,
        augment: Augment,
        *,
        side: int,
        per_step: int,
        difficult: bool,
        seed: int,
    ) -> None:
        self._used = [np.full(len(record.boxes), True) if difficult else ~record.ignore for record in records]
        if not any(used.any() for used in self._used):
            raise InputError("no image has an object to train on; the training splits need annotated objects.")
        self._records, self._images, self._augment = records, images, augment
        self._side, self._seed = side, seed
        self._order = ImageOrder(len(records), per_step, False, seed)

    def __call__(self, step: int) -> SquareBatch:
        """Return the batch of ``step``."""
        positions = [position for position, _ in self._order(step)]
        samples = [self._sample(position, step, place) for place, position in enumerate(positions)]
        return SquareBatch(
            as_images([image for image, _, _ in samples]),
            tuple(torch.from_numpy(boxes) for _, boxes, _ in samples),
            tuple(torch.from_numpy(labels) for _, _, labels in samples),
            tuple(self._records[position].id for position in positions),
        )

    def _sample(self, position: int, step: int, place: int) -> Sample:
        record, used = self._records[position], self._used[position]
        rng = item_rng(self._seed, "square", step, place)
        image, boxes, labels = self._augment(self._images[position], record.boxes[used], record.labels[used], rng)
        height, width = image.shape[:2]
        return stretch(image, self._side), to_square(boxes, width, height, self._side), labels


def as_images(squares: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Return squares ``(S, S, 3)`` as one uint8 batch ``(N, 3, S, S)``, channels last in memory."""
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


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

    images = runtime.read_ahead(read, records, workers=worker_count(workers), ahead=AHEAD * batch)
    while part := list(islice(images, batch)):
        yield [record for record, _ in part], as_images([image for _, image in part])


class SingleShot:
    """A `Detector`; the whole network counts as ``convolution``, YOLO's fully connected layers too."""

    batched = True

    def __init__(self, description: Description, network: Yolo | Ssd, device: torch.device) -> None:
        self.system, self.classes = description.system, description.classes
        self._settings = description.section("detect", SquareDetection)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._side, self._device = network.shape.side, device

    @classmethod
    def load_yolo(cls, models: Path, device: torch.device) -> "SingleShot":
        """Read what the stages of YOLO left below ``models``."""
        network = Yolo.load(models / "yolo/network.safetensors", "yolo_train")
        return cls(read_description(models / "yolo", "yolo"), network, device)

    @classmethod
    def load_ssd(cls, models: Path, device: torch.device) -> "SingleShot":
        """Read what the stages of SSD left below ``models``."""
        network = Ssd.load(models / "ssd/network.safetensors", "ssd_train")
        return cls(read_description(models / "ssd", "ssd"), network, device)

    @torch.inference_mode()
    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image; all go through the network together."""
        if not images:
            return []
        pixels = [opened(image, clock) for image in images]
        with clock.phase("convolution"):
            squares = as_images([stretch(image, self._side) for image in pixels]).to(self._device)
            output = self._network(squares)
        with clock.phase("suppression"):
            boxes, scores = (values.cpu().numpy() for values in self._network.decode(output))
            return [
                Found.of(in_image(own, each, image.shape[1], image.shape[0], self._side, self._settings))
                for own, each, image in zip(boxes, scores, pixels, strict=True)
            ]
