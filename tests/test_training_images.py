"""Which images a training sees, and what is said where there are none to validate on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.boxes import as_boxes
from pipeline.core.errors import InputError
from pipeline.core.params import Schedule, Split
from pipeline.data.index import ImageRecord, Index
from pipeline.training_images import TrainingImages, seen_splits, trained_splits, training_images

ON, OFF = Schedule(validation_batches=3), Schedule()
KEY = "yolo.train.schedule"


def images(*numbers: int, **changed: Any) -> Index:
    """Return images with an object each."""
    box: dict[str, Any] = {"boxes": as_boxes([[1, 2, 5, 6]]), "labels": np.array([1])}
    marks = {name: np.array([name in changed and changed[name]], np.bool_) for name in ("ignore", "crowd")}
    return Index(("cat",), tuple(ImageRecord(n, f"{n}.png", 9, 9, "", **box, **marks) for n in numbers))


INDICES: dict[Split, Index] = {"train": images(1, 2, 3), "val": images(4)}


def seen(
    schedule: Schedule, *fit_splits: Split, val: Index = INDICES["val"], difficult: bool = True
) -> tuple[TrainingImages, TrainingImages | None]:
    indices = {**INDICES, "val": val}
    return training_images(schedule, KEY, fit_splits, indices.__getitem__, Path(), 100, difficult=difficult)


@pytest.mark.parametrize(
    ("schedule", "fit_splits", "trained", "held_out"),
    [
        (OFF, ("train", "val"), [1, 2, 3, 4], None),
        (OFF, ("val",), [4], None),
        (ON, ("val", "train"), [1, 2, 3], [4]),
        (ON, ("train",), [1, 2, 3], [4]),
    ],
)
def test_val_trains_or_is_held_out(
    schedule: Schedule, fit_splits: tuple[Split, ...], trained: list[int], held_out: list[int] | None
) -> None:
    found, others = seen(schedule, *fit_splits)
    assert [image.id for image in found.records] == trained
    assert (others and [image.id for image in others.records]) == held_out
    assert found.megabytes == (75 if held_out else 100)
    assert (others.megabytes if others else 25) == 25


def test_the_splits_that_are_read_are_those_that_train_and_val() -> None:
    assert trained_splits(ON, KEY, ("train", "val")) == ("train",)
    assert seen_splits(ON, KEY, ("train",)) == ("train", "val")
    assert seen_splits(OFF, KEY, ("train",)) == ("train",)


def test_without_train_nothing_would_train() -> None:
    with pytest.raises(InputError) as error:
        seen(ON, "val")
    assert str(error.value) == (
        "params.yaml, yolo.train.schedule.validation_batches: found 3, but data.fit_splits is [val], without train to "
        "train on; 0 would be right, or train among them."
    )


@pytest.mark.parametrize(
    ("val", "difficult", "count"),
    [(images(), True, 0), (images(4, 5, ignore=True, crowd=True), True, 2), (images(4, ignore=True), False, 1)],
)
def test_val_needs_an_object_that_counts(val: Index, difficult: bool, count: int) -> None:
    with pytest.raises(InputError) as error:
        seen(ON, "train", "val", val=val, difficult=difficult)
    assert str(error.value) == (
        "params.yaml, yolo.train.schedule.validation_batches: found 3, but val has no object to measure a loss on "
        f"({count} images); 0 would be right, or annotated images in val."
    )


def test_difficult_objects_of_val_count_where_they_train() -> None:
    _, held_out = seen(ON, "train", val=images(4, ignore=True))
    assert held_out is not None
