"""What a step of the localiser's trainings sees: views of images, the object that each is of, and the others."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.batch_view import Role, SeenBatches, SeenPicture, object_marks
from pipeline.evaluation.localisation import largest
from pipeline.systems.localise.network import Localiser, LocaliseShape
from pipeline.systems.localise.params import Localise as LocaliseParams
from pipeline.systems.localise.training import ObjectBatches, object_batches
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of the stage ``train`` or ``box``; see `pipeline.registry.System.seen_batches`."""
    section = params.section(LocaliseParams)
    settings = section.train if stage == "train" else section.box
    images = images.of(trained_splits(settings.schedule, f"localise.{stage}.schedule", params.data.fit_splits))
    network = Localiser(LocaliseShape.from_params(section, len(images.classes)))
    batches = object_batches(
        network, images.records, images.pixels, settings, params.seed, difficult=section.train.difficult
    )
    return SeenBatches(settings.schedule.steps, batches, lambda step: pictures(batches, images, step))


def pictures(batches: ObjectBatches, images: TrainingImages, step: int) -> tuple[SeenPicture, ...]:
    """Return the squares of ``step`` with their objects."""
    squares = batches.squares(step)
    seen = []
    for number, image_id in enumerate(squares.image_ids):
        boxes = squares.boxes[number].numpy()
        main = np.arange(len(boxes)) == largest(boxes, np.ones(len(boxes), np.bool_))
        marks = object_marks(
            boxes,
            [images.classes[label - 1] for label in squares.labels[number].tolist()],
            (Role.OBJECT, "object that the image is of", main),
            (Role.LOST, "smaller object", ~main),
        )
        pixels = squares.images[number].permute(1, 2, 0).numpy()
        seen.append(SeenPicture(images.title_of(image_id), pixels, marks))
    return tuple(seen)
