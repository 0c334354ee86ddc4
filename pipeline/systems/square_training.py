"""The training of networks on squares (YOLO, SSD, RetinaNet), end to end; what a batch holds is each one's own."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Unpack

from torch import Tensor

from pipeline.core.sections import Schedule
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord
from pipeline.nets.backbones import channels_last
from pipeline.nets.weights import ShapedNetwork
from pipeline.training import Run, Task, train
from pipeline.training_images import TrainingImages, validation


class Settings(Protocol):
    """What the trainings' sections have in common."""

    frozen_layers: int
    new_layer_lr: float
    schedule: Schedule


def train_on_squares(
    network: ShapedNetwork,
    batches: Callable[..., Callable[..., Any]],
    records: Sequence[ImageRecord],
    images: ImageCache,
    settings: Settings,
    held_out: TrainingImages | None,
    *,
    losses: Callable[..., Mapping[str, Tensor]],
    counts: Callable[[Any], Mapping[str, int]],
    new: Sequence[str],
    title: str,
    **run: Unpack[Run],
) -> None:
    """Train ``network`` in place on the objects of ``records``; the first ``frozen_layers`` convolutions stay.

    Args:
        network: in training or evaluation mode.
        batches: makes the batches, of network, records, images, settings and seed; ``held_out=True``: not augmented.
        records: the images that are trained on.
        images: their pixels.
        settings: of the training; ``losses`` gets them too.
        held_out: the images of the schedule's ``validation_batches``.
        losses: of network and batch.
        counts: `Task.counts`.
        new: prefixes of the parameters that learn ``new_layer_lr`` times as fast.
        title: of the progress bar.
        run: see `Run`.

    Raises:
        InputError: no image has an object to train on, or a loss is not finite.
    """
    made = partial(batches, network, settings=settings)
    channels_last(network, run["device"])
    task = Task(
        network,
        losses=partial(losses, settings=settings),
        rates=dict.fromkeys(new, settings.new_layer_lr),
        frozen=network.early_layers(settings.frozen_layers),
        validation=validation(made, held_out, run["seed"]),
        counts=counts,
    )
    train(task, made(records=records, images=images, seed=run["seed"]), settings.schedule, title=title, **run)
