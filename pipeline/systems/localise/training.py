"""Training of the two heads: one after the other with the trunk fixed for the second, or both at once.

First the classifier with the trunk, then the box head alone (OverFeat, section 4.2); or all of it on the sum of both
losses. An image is of its largest object, whatever else it shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Unpack

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.core.part import WHOLE, Part
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.nets.backbones import channels_last
from pipeline.systems.localise.network import BOX_HEAD, CLASSIFIER, Localiser
from pipeline.systems.localise.params import LocaliseBoxTraining, LocaliseTraining
from pipeline.systems.localise.targets import target
from pipeline.systems.square_batches import SquareBatches, unchanged
from pipeline.systems.square_view import RandomView
from pipeline.training import Run, Task, train
from pipeline.training_images import TrainingImages, validation


@dataclass(frozen=True)
class ObjectBatch:
    """A step's images and the targets of the object that each is of.

    Attributes:
        images: ``(N, 3, side, side)`` uint8 RGB, channels last in memory.
        labels: ``(N,)`` int64 category, 0 where no object is in view.
        points: ``(N, 2 * K)`` float32, see `targets.Target`.
        image_ids: of the images.
    """

    images: torch.Tensor
    labels: torch.Tensor
    points: torch.Tensor
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class ObjectBatches:
    """Makes the batch of a step.

    Attributes:
        squares: makes the images and objects.
        side: of the squares.
        points: of an object.
    """

    squares: SquareBatches
    side: int
    points: int

    def __call__(self, step: int, part: Part = WHOLE) -> ObjectBatch:
        """Return the batch of ``step``, or a part of it."""
        batch = self.squares(step, part)
        found = [
            target(boxes.numpy(), labels.numpy(), self.side, self.points)
            for boxes, labels in zip(batch.boxes, batch.labels, strict=True)
        ]
        return ObjectBatch(
            batch.images,
            torch.tensor([each.label for each in found]),
            torch.from_numpy(np.stack([each.points for each in found])),
            batch.image_ids,
        )


def object_batches(
    network: Localiser,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: LocaliseTraining | LocaliseBoxTraining,
    seed: int,
    *,
    difficult: bool,
    held_out: bool = False,
) -> ObjectBatches:
    """Return what makes the batches of a training, or those of ``held_out`` images as they are.

    Raises:
        InputError: no image has an object to train on.
    """
    shape = network.shape
    augment = unchanged if held_out else RandomView(settings.augment.scale, settings.augment.flip)
    squares = SquareBatches(
        records, images, augment, side=shape.side, per_step=settings.batch, difficult=difficult, seed=seed
    )
    return ObjectBatches(squares, shape.side, shape.points)


def train_classifier(
    network: Localiser,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: LocaliseTraining,
    held_out: TrainingImages | None = None,
    *,
    new: Sequence[str],
    together: bool,
    **run: Unpack[Run],
) -> None:
    """Train trunk and classifier of ``network`` in place, and with ``together`` the box head.

    Args:
        network: in training or evaluation mode.
        records: the images that are trained on.
        images: their pixels.
        settings: of the training.
        held_out: the images of the schedule's ``validation_batches``.
        new: the layers that no backbone has.
        together: whether the box head takes part.
        run: see `Run`.

    Raises:
        InputError: no image has an object to train on, or a loss is not finite.
    """
    made = partial(object_batches, network, settings=settings, difficult=settings.difficult)
    batches = made(records=records, images=images, seed=run["seed"])
    channels_last(network, run["device"]).eval().scale_new_layers(batches(0).images.to(run["device"]), new)
    task = Task(
        network,
        losses=partial(losses, box_weight=settings.box_weight if together else None),
        rates={f"{layer}.": settings.new_layer_lr for layer in new},
        frozen=(*network.early_layers(settings.frozen_layers), *(() if together else (BOX_HEAD,))),
        validation=validation(made, held_out, run["seed"]),
        counts=partial(counts, losses=("class", "box") if together else ("class",)),
    )
    train(task, batches, settings.schedule, title="training the localiser", **run)


def train_boxes(
    network: Localiser,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: LocaliseBoxTraining,
    held_out: TrainingImages | None = None,
    *,
    difficult: bool,
    **run: Unpack[Run],
) -> None:
    """Train the box head of ``network`` in place; trunk and classifier stay, so the classes of the guesses do too.

    Raises:
        InputError: no image has an object to train on, or a loss is not finite.
    """
    made = partial(object_batches, network, settings=settings, difficult=difficult)
    network.box.requires_grad_(True)  # `train_classifier` leaves it without gradients
    batches = made(records=records, images=images, seed=run["seed"])
    channels_last(network, run["device"]).eval().scale_new_layers(batches(0).images.to(run["device"]), ("box",))
    task = Task(
        network,
        losses=box_losses,
        frozen=("conv.", *CLASSIFIER),
        validation=validation(made, held_out, run["seed"]),
        counts=partial(counts, losses=("box",)),
    )
    train(task, batches, settings.schedule, title="training the box head", **run)


def counts(batch: ObjectBatch, losses: Sequence[str]) -> Mapping[str, int]:
    """Return the number of images with an object in view, by which each of ``losses`` is divided."""
    return dict.fromkeys(losses, int((batch.labels > 0).sum()))


def losses(network: Localiser, batch: ObjectBatch, box_weight: float | None) -> Mapping[str, torch.Tensor]:
    """Return the cross entropy of the classes, and unless ``box_weight`` is None so many times that of `box_loss`."""
    logits, points = network(batch.images, regress=box_weight is not None)
    found = {"class": class_loss(logits, batch.labels)}
    return found if box_weight is None else found | {"box": box_weight * box_loss(points, batch.points, batch.labels)}


def box_losses(network: Localiser, batch: ObjectBatch) -> Mapping[str, torch.Tensor]:
    """Return `box_loss` alone."""
    _, points = network(batch.images, classify=False)
    return {"box": box_loss(points, batch.points, batch.labels)}


def class_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross entropy over the images with an object.

    Args:
        logits: ``(N, classes)``.
        labels: ``(N,)`` category ids, 0 for an image without an object in view.
    """
    objects = labels > 0
    return F.cross_entropy(logits[objects], labels[objects] - 1, reduction="sum") / objects.sum().clamp(min=1)


def box_loss(points: torch.Tensor, truth: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the squared error, summed over the coordinates, in the mean over the images with an object.

    Of points for each class, those of the true class alone are compared (OverFeat, section 4.2).

    Args:
        points: ``(N, boxes, 2 * K)``; one box for all classes, or one for each.
        truth: ``(N, 2 * K)``.
        labels: as for `class_loss`.
    """
    objects = torch.nonzero(labels > 0)[:, 0]
    own = points[objects, (labels[objects] - 1) % points.shape[1]]
    return (own - truth[objects]).square().sum() / max(1, len(objects))
