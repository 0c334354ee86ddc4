"""What a step of OverFeat's trainings sees: views of images at one scale, their objects, and these objects' windows."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.batch_view import Marks, Role, SeenBatches, SeenPicture, object_marks
from pipeline.core.boxes import iou
from pipeline.systems.overfeat.network import Overfeat, OverfeatShape
from pipeline.systems.overfeat.params import Overfeat as OverfeatParams
from pipeline.systems.overfeat.training import WindowBatches, window_batches
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of the stage ``train`` or ``box``; see `pipeline.registry.System.seen_batches`."""
    section = params.section(OverfeatParams)
    settings = section.train if stage == "train" else section.box
    images = images.of(trained_splits(settings.schedule, f"overfeat.{stage}.schedule", params.data.fit_splits))
    network = Overfeat(OverfeatShape.from_params(section, len(images.classes)))
    batches = window_batches(
        network, images.records, images.pixels, settings, params.seed, difficult=section.train.difficult
    )
    return SeenBatches(settings.schedule.steps, batches, lambda step: pictures(batches, images, step))


def pictures(batches: WindowBatches, images: TrainingImages, step: int) -> tuple[SeenPicture, ...]:
    """Return the squares of ``step``: the windows of objects, and objects."""
    batch = batches(step)
    squares, windows = batches.scaled(step)
    seen = []
    for number, image_id in enumerate(batch.image_ids):
        boxes, labels = squares.boxes[number].numpy(), squares.labels[number].tolist()
        positive = windows[np.flatnonzero(batch.labels[number].numpy() > 0)]
        near = iou(windows, boxes).max(axis=0, initial=0) >= batches.positive
        objects = object_marks(
            boxes,
            [images.classes[label - 1] for label in labels],
            (Role.OBJECT, "object", near),
            (Role.LOST, "object without a window at this scale", ~near),
        )
        pixels = batch.images[number].permute(1, 2, 0).numpy()
        marks = (Marks(Role.POSITIVE, "window of an object", positive, 1), *objects)
        seen.append(SeenPicture(images.title_of(image_id), pixels, marks))
    return tuple(seen)
