"""What the stages that train have in common: the images that they see, and what they leave at their end."""

from typing import Any

from pipeline.core.params import Schedule
from pipeline.data.index import Index
from pipeline.stage import Stage
from pipeline.training import choice, publish_curves
from pipeline.training_images import TrainingImages, training_images


def images_of(
    stage: Stage, schedule: Schedule, key: str, *, difficult: bool
) -> tuple[TrainingImages, TrainingImages | None]:
    """Return the dataset's images to train on and those to validate on, see `training_images`.

    Args:
        stage: that trains.
        schedule: of the training.
        key: the schedule's, for errors.
        difficult: whether difficult objects are trained on.
    """
    p = stage.params
    return training_images(
        schedule,
        key,
        p.data.fit_splits,
        lambda split: Index.load(stage.dep(f"data/index/{split}.json")),
        stage.files,
        p.runtime.image_cache_mb / p.training.processes,
        difficult=difficult,
    )


def finish(stage: Stage, seen: int, unit: str, **figures: Any) -> None:
    """Publish the curves and record what the training cost, see `Stage.finish`, with the checkpoint it chose if any."""
    publish_curves(stage.scratch.folder, stage.report / "curves")
    stage.finish(seen, unit, **figures, **choice(stage.scratch.folder))
