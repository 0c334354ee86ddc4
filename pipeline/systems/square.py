"""Networks that see a whole image as one square (YOLO, SSD, RetinaNet): the batches of a training, and the detector.

A square is the image stretched to ``side`` pixels both ways, whatever its shape.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, area, clip
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import item_rng
from pipeline.core.sections import SquareDetection
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.detector import Candidates, Description, Detector, Picture
from pipeline.evaluation.detections import Detections
from pipeline.imaging import ImageOrder, from_square, stretch, to_square
from pipeline.nets.backbones import channels_last
from pipeline.nets.weights import ShapedNetwork
from pipeline.whole_images import WholeImages

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


def unchanged(image: NDArray[np.uint8], boxes: Boxes, labels: NDArray[np.int64], rng: np.random.Generator) -> Sample:
    """Return the sample as it is, as detection sees its image; the `Augment` of held-out images."""
    return image, boxes, labels


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


class SquareBatches:
    """Makes the batch of a step; an image without objects trains as well as any other.

    Args:
        records: the images that are trained on.
        images: their pixels.
        augment: applied to every image before it is stretched.
        side: of the square, in pixels.
        per_step: images in a batch.
        difficult: whether difficult objects are trained on; else they are background, as crowds always are.
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
        self._used = [record.trained(difficult) for record in records]
        if not any(used.any() for used in self._used):
            raise InputError("no image has an object to train on; the training splits need annotated objects.")
        self._records, self._images, self._augment = records, images, augment
        self._side, self._seed = side, seed
        self._order = ImageOrder(len(records), per_step, False, seed)

    def __call__(self, step: int, part: Part = WHOLE) -> SquareBatch:
        """Return the batch of ``step``, or a part of it."""
        places = part.of([(place, position) for place, (position, _) in enumerate(self._order(step))])
        samples = [self._sample(position, step, place) for place, position in places]
        return SquareBatch(
            as_images([image for image, _, _ in samples]),
            tuple(torch.from_numpy(boxes) for _, boxes, _ in samples),
            tuple(torch.from_numpy(labels) for _, _, labels in samples),
            tuple(self._records[position].id for _, position in places),
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
"""Returns, from a network's output, boxes ``(N, K, 4)`` in pixels of the square, not clipped, and scores
``(N, K, classes)`` without the background."""


class SquareDetector(Detector):
    """A network on squares as a detector; all of it counts as ``convolution``, YOLO's fully connected layers too.

    For each class: scores above ``min_score``, of those the ``max_per_class`` best, suppression. Then the
    ``max_per_image`` best of all classes (``detection_output_layer.cpp`` of SSD; darknet's ``do_nms_sort`` has no
    limits). Both official codes suppress before they clip. A box that lies outside of the image is dropped.

    Args:
        description: with the settings ``detect``.
        network: takes uint8 RGB ``(N, 3, side, side)``.
        decode: of its output.
        side: of the square, in pixels.
        device: where the network runs.
    """

    batched = True

    def __init__(
        self, description: Description, network: ShapedNetwork, decode: Decode, side: int, device: torch.device
    ) -> None:
        super().__init__(description)
        self.settings = description.section("detect", SquareDetection)
        self.batch = self.at_once = self.settings.batch
        self.network = channels_last(network, device).eval()
        self.whole_images = WholeImages.stretched(network, [side])
        self.decode, self.side = decode, side
        self._device = device

    @torch.inference_mode()
    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the candidates of each picture, boxes in pixels of the square; all go through the network together."""
        images = [picture.pixels(clock) for picture in pictures]
        with clock.phase("convolution"):
            squares = as_images([stretch(image, self.side) for image in images]).to(self._device)
            output = self.network(squares)
        with clock.phase("suppression"):
            batch = (values.cpu().numpy() for values in self.decode(output))
            settings = self.settings
            return [
                Candidates.above(settings.min_score, boxes, scores, source=image.shape).limit_by_class(
                    settings.max_per_class
                )
                for boxes, scores, image in zip(*batch, images, strict=True)
            ]

    def finish(self, candidates: Candidates, clock: Clock = NULL_CLOCK) -> Detections:
        """Return the detections of one image, in its own pixels."""
        height, width, _ = candidates.source
        with clock.phase("suppression"):
            kept = candidates.suppress(self.settings.nms).limit(self.settings.max_per_image)
            boxes = clip(from_square(kept.boxes, width, height, self.side), width, height)
            return replace(kept, boxes=boxes).take(area(boxes) > 0).detections()


def load_detector(
    kind: type[ShapedNetwork], description: Description, folder: Path, device: torch.device
) -> SquareDetector:
    """Return the detector of a network of this ``kind`` in ``folder``, with a `Decode` of its own named ``decode``.

    Raises:
        InputError: there is none, or it was trained on other classes.
    """
    weights = folder / "network.safetensors"
    network: Any = kind.load(weights, f"systems/{description.system}/dvc.yaml:train")
    description.check_classes(network.shape.classes, weights)
    return SquareDetector(description, network, network.decode, network.shape.side, device)
