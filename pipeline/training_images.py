"""The images that a training sees: those it trains on, and held-out ones of val, on which its weights are chosen.

A picture that trains says nothing about which weights are good for others, so a training whose schedule has
``validation_batches`` trains on train alone.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pipeline.core.boxes import Boxes
from pipeline.core.errors import InputError
from pipeline.core.params import Schedule, Split
from pipeline.core.runtime import item_seed
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord, Index
from pipeline.proposals.store import ProposalSet

HELD_OUT: Split = "val"

T = TypeVar("T")


class TrainingImages:
    """The images of some splits, one after another, as trainings count them.

    Args:
        indices: of the splits.
        root: folder that file names are relative to.
        megabytes: of decoded images held in memory.

    Attributes:
        splits: of the images, in their order.
        records: of the images.
        classes: of the dataset.
        megabytes: as given.
        pixels: of the images.
    """

    def __init__(self, indices: Mapping[Split, Index], root: Path, megabytes: float) -> None:
        self._indices, self._root, self.megabytes = indices, root, megabytes
        self.splits = tuple(indices)
        self.records: list[ImageRecord] = [image for index in indices.values() for image in index.images]
        self.classes = next(iter(indices.values())).classes
        self.pixels = ImageCache([root / image.file for image in self.records], megabytes)
        self._positions = {image.id: position for position, image in enumerate(self.records)}

    def of(self, splits: Iterable[Split]) -> "TrainingImages":
        """Return the images of some of the splits, in this order."""
        return TrainingImages({split: self._indices[split] for split in splits}, self._root, self.megabytes)

    def proposals(self, file: Callable[[Split], Path]) -> list[Boxes]:
        """Return each image's proposals from the ``file`` of each split.

        Raises:
            InputError: a file is missing or of other images.
        """
        return [boxes for split, index in self._indices.items() for boxes in ProposalSet.load(file(split), index)]

    def title(self, position: int, mirrored: bool = False) -> str:
        """Return the name of the image at ``position``, without folders and suffix."""
        return PurePosixPath(self.records[position].file).stem + (", mirrored" if mirrored else "")

    def title_of(self, image_id: int) -> str:
        """Return the name of the image with this id."""
        return self.title(self._positions[image_id])


def trained_splits(schedule: Schedule, key: str, fit_splits: tuple[Split, ...]) -> tuple[Split, ...]:
    """Return the splits that a training with ``schedule``, the parameter ``key``, trains on.

    Raises:
        InputError: it is to choose on val, and ``fit_splits`` has no train.
    """
    if not schedule.validation_batches:
        return fit_splits
    if "train" not in fit_splits:
        raise InputError(
            f"{_found(schedule, key)}, but data.fit_splits is [{', '.join(fit_splits)}], without train to train on; 0 "
            "would be right, or train among them."
        )
    return ("train",)


def seen_splits(schedule: Schedule, key: str, fit_splits: tuple[Split, ...]) -> tuple[Split, ...]:
    """Return the splits that a training with ``schedule`` reads: `trained_splits`, and the one that it validates on."""
    trained = trained_splits(schedule, key, fit_splits)
    return (*trained, HELD_OUT) if schedule.validation_batches else trained


def training_images(
    schedule: Schedule,
    key: str,
    fit_splits: tuple[Split, ...],
    load: Callable[[Split], Index],
    root: Path,
    megabytes: float,
    *,
    difficult: bool = True,
) -> tuple[TrainingImages, TrainingImages | None]:
    """Return the images to train on and those to validate on, None where ``schedule`` asks for no validation.

    Args:
        schedule: of the training.
        key: the schedule's, for errors.
        fit_splits: the splits to train on without a validation.
        load: returns the index of a split.
        root: folder that file names are relative to.
        megabytes: of decoded images held in memory, shared by both.
        difficult: whether difficult objects are trained on.

    Raises:
        InputError: ``schedule`` asks for a validation, and there is no train in ``fit_splits``, or no object in val.
    """
    trained = {split: load(split) for split in trained_splits(schedule, key, fit_splits)}
    if not schedule.validation_batches:
        return TrainingImages(trained, root, megabytes), None
    held_out = load(HELD_OUT)
    if not any(image.trained(difficult).any() for image in held_out.images):
        raise InputError(
            f"{_found(schedule, key)}, but val has no object to measure a loss on ({len(held_out.images)} images); 0 "
            "would be right, or annotated images in val."
        )
    share = megabytes / (sum(len(index.images) for index in trained.values()) + len(held_out.images))
    return (
        TrainingImages(trained, root, share * sum(len(index.images) for index in trained.values())),
        TrainingImages({HELD_OUT: held_out}, root, share * len(held_out.images)),
    )


def _found(schedule: Schedule, key: str) -> str:
    return f"params.yaml, {key}.validation_batches: found {schedule.validation_batches}"


def validation(made: Callable[..., T], held_out: TrainingImages | None, seed: int) -> T | None:
    """Return the batches of held-out images that ``made`` gives of records, images, seed and ``held_out=True``, if any.

    Args:
        made: makes what makes the batches of a training.
        held_out: the images; None where there is no validation.
        seed: of the training.
    """
    if held_out is None:
        return None
    return made(records=held_out.records, images=held_out.pixels, seed=validation_seed(seed), held_out=True)


def validation_seed(seed: int) -> int:
    """Return the seed of the batches of held-out images, which the training's own batches do not depend on."""
    return item_seed(seed, "validation")
