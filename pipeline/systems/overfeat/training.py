"""Training of OverFeat: the classifier with the trunk, then the box regressor on the fixed trunk (sections 3 to 5).

The paper trains the classifier on crops and then fine-tunes it with background. Here the backbone was trained on crops
by the stage ``pretrain``, and the windows of whole images train, as they are seen at test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.core.boxes import Boxes
from pipeline.core.part import WHOLE, Part
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.nets.backbones import channels_last
from pipeline.systems.overfeat.network import CLASSIFIER, REGRESSOR, Overfeat
from pipeline.systems.overfeat.params import OverfeatBoxTraining, OverfeatTraining
from pipeline.systems.overfeat.targets import targets
from pipeline.systems.square_batches import SquareBatch, SquareBatches, unchanged
from pipeline.systems.square_view import RandomView
from pipeline.training import Run, Task, train
from pipeline.training_images import TrainingImages, validation


@dataclass(frozen=True)
class WindowBatch:
    """A step's images, all of one scale, and the targets of their windows.

    Attributes:
        images: ``(N, 3, side, side)`` uint8 RGB, channels last in memory.
        labels: ``(N, W)`` int64 category of each window, 0 for background, -1 for neither.
        edges: ``(N, W, 4)`` float32, see `targets.Targets`.
        image_ids: of the images.
    """

    images: torch.Tensor
    labels: torch.Tensor
    edges: torch.Tensor
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class WindowBatches:
    """Makes the batch of a step; steps take the scales in turn.

    Attributes:
        squares: images and objects of each scale.
        windows: of each scale, ``(W, 4)``.
        positive: overlap from which on a window is an object's.
        negative: overlap below which it is background.
    """

    squares: tuple[SquareBatches, ...]
    windows: tuple[Boxes, ...]
    positive: float
    negative: float

    def scaled(self, step: int, part: Part = WHOLE) -> tuple[SquareBatch, Boxes]:
        """Return images and objects of ``step``, or of a part of it, and the windows."""
        scale = step % len(self.squares)
        return self.squares[scale](step, part), self.windows[scale]

    def __call__(self, step: int, part: Part = WHOLE) -> WindowBatch:
        """Return the batch of ``step``, or a part of it."""
        batch, windows = self.scaled(step, part)
        found = [
            targets(windows, boxes.numpy(), labels.numpy(), self.positive, self.negative)
            for boxes, labels in zip(batch.boxes, batch.labels, strict=True)
        ]
        return WindowBatch(
            batch.images,
            torch.from_numpy(np.stack([each.labels for each in found])),
            torch.from_numpy(np.stack([each.edges for each in found])),
            batch.image_ids,
        )


def window_batches(
    network: Overfeat,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: OverfeatTraining | OverfeatBoxTraining,
    seed: int,
    *,
    difficult: bool,
    held_out: bool = False,
) -> WindowBatches:
    """Return what makes the batches of a training, or those of ``held_out`` images as they are.

    Raises:
        InputError: no image has an object to train on.
    """
    augment = unchanged if held_out else RandomView(settings.augment.scale, settings.augment.flip)
    squares = partial(SquareBatches, records, images, augment, per_step=settings.batch, difficult=difficult, seed=seed)
    scales = network.shape.scales
    return WindowBatches(
        tuple(squares(side=side) for side in scales),
        tuple(network.windows(side) for side in scales),
        settings.positive_iou,
        settings.negative_iou if isinstance(settings, OverfeatTraining) else 0,
    )


def train_classifier(
    network: Overfeat,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: OverfeatTraining,
    held_out: TrainingImages | None = None,
    **run: Unpack[Run],
) -> None:
    """Train trunk and classifier of ``network`` in place on the windows of ``records``.

    ``held_out`` are the images of the schedule's ``validation_batches``.

    Raises:
        InputError: no image has an object to train on, or a loss is not finite.
    """
    made = partial(window_batches, network, settings=settings, difficult=settings.difficult)
    task = Task(
        channels_last(network, run["device"]),
        losses=partial(class_losses, negatives=settings.negatives),
        rates={CLASSIFIER: settings.new_layer_lr},
        frozen=(*network.early_layers(settings.frozen_layers), REGRESSOR),
        validation=validation(made, held_out, run["seed"]),
        counts=partial(counts, loss="class"),
    )
    batches = made(records=records, images=images, seed=run["seed"])
    train(task, batches, settings.schedule, title="training OverFeat's classifier", **run)


def train_regressor(
    network: Overfeat,
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: OverfeatBoxTraining,
    held_out: TrainingImages | None = None,
    *,
    difficult: bool,
    **run: Unpack[Run],
) -> None:
    """Train the box regressor of ``network`` in place; trunk and classifier stay.

    Raises:
        InputError: no image has an object to train on, or a loss is not finite.
    """
    made = partial(window_batches, network, settings=settings, difficult=difficult)
    network.regressor.requires_grad_(True)  # `train_classifier` leaves it without gradients
    task = Task(
        channels_last(network, run["device"]),
        losses=box_losses,
        frozen=("conv.", CLASSIFIER),
        validation=validation(made, held_out, run["seed"]),
        counts=partial(counts, loss="box"),
    )
    batches = made(records=records, images=images, seed=run["seed"])
    train(task, batches, settings.schedule, title="training OverFeat's box regressor", **run)


def counts(batch: WindowBatch, loss: str) -> Mapping[str, int]:
    """Return the number of windows of objects, by which ``loss`` is divided."""
    return {loss: int((batch.labels > 0).sum())}


def class_losses(network: Any, batch: WindowBatch, negatives: float) -> Mapping[str, torch.Tensor]:
    """Return the cross entropy of the windows of objects and of the worst background, divided by the former's number.

    Of each image the background windows with the greatest loss train: ``negatives`` for each window of an object, and
    so many at least. The paper, too, chooses them while it trains, in place of passes over all images (section 5).
    """
    logits, _ = network(batch.images, regress=False)
    errors = F.cross_entropy(logits.transpose(1, 2), batch.labels.clamp(min=0), reduction="none")
    objects = batch.labels > 0
    background = errors.detach().where(batch.labels == 0, -1)
    place = background.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    most = negatives * objects.sum(dim=1, keepdim=True).clamp(min=1)
    trained = objects | ((batch.labels == 0) & (place < most))
    return {"class": errors.where(trained, 0).sum() / objects.sum().clamp(min=1)}


def box_losses(network: Any, batch: WindowBatch) -> Mapping[str, torch.Tensor]:
    """Return the squared error of the edges, summed over the four and halved, in the mean over windows of objects."""
    _, edges = network(batch.images, classify=False)
    objects = batch.labels > 0
    own = (batch.labels[objects] - 1) % edges.shape[2]  # one box for all classes, or each its own
    found = edges[objects][torch.arange(len(own), device=own.device), own]
    return {"box": 0.5 * (found - batch.edges[objects]).square().sum() / objects.sum().clamp(min=1)}
