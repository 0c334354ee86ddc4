"""Figures of a dataset, counted by hand."""

import numpy as np
import pytest

from pipeline.data.index import ImageRecord, Index
from pipeline.survey.statistics import class_figures, histograms, split_figures

CLASSES = ("cat", "dog")


def record(number: int, *objects: tuple[int, float, float], crowd: bool = False) -> ImageRecord:
    """Return an image with objects of these labels, widths and heights; with ``crowd`` the last is one."""
    boxes = np.array([(0, 0, width, height) for _, width, height in objects], np.float32).reshape(-1, 4)
    flags = np.zeros(len(objects), np.bool_)
    flags[len(objects) - 1 :] = crowd
    return ImageRecord(number, "", 500, 500, "", boxes, np.array([o[0] for o in objects], np.int64), flags, flags)


SPLITS = {
    "train": Index(
        CLASSES,
        (
            record(
                1,
                (1, 10, 10),
                (1, 32, 32),
                (
                    2,
                    300,
                    100,
                ),
                crowd=True,
            ),
            record(2),
        ),
    ),
    "val": Index(CLASSES, ()),
    "test": Index(CLASSES, (record(3, (1, 96, 96), (1, 20, 40)),)),
}


def test_splits() -> None:
    train, test = split_figures(SPLITS["train"]), split_figures(SPLITS["test"])
    assert (train.images, train.empty, train.objects, train.ignored, train.median, train.most) == (2, 1, 3, 1, 1.5, 3)
    assert (test.images, test.empty, test.objects, test.ignored, test.median, test.most) == (1, 0, 2, 0, 2, 2)
    assert split_figures(SPLITS["val"]).objects == 0


def test_classes() -> None:
    cat, dog = class_figures(SPLITS).values()
    assert cat.objects == {"train": 2, "val": 0, "test": 2}
    assert (cat.label, cat.images, cat.sizes, cat.missing) == (1, 2, (2, 1, 1), []), "a split without images lacks none"
    assert cat.sides[1] == pytest.approx((800**0.5 + 32) / 2)
    assert cat.aspects[1] == 1
    assert (dog.objects["train"], dog.images, dog.missing) == (1, 1, ["test"])
    assert (dog.sizes, dog.sides, dog.aspects) == ((0, 0, 0), [], []), "the box of a crowd is no object's"


def test_histograms_count_every_object_once() -> None:
    sides, aspects, objects = histograms(SPLITS)
    assert dict(sides.bars) == {"8": 1, "11": 0, "16": 0, "23": 1, "32": 1, "45": 0, "64": 0, "91": 1}
    assert dict(aspects.bars) == {"0.5": 1, "0.71": 0, "1": 3}
    assert dict(objects.bars) == {"0": 1, "1": 0, "2\N{EN DASH}3": 2}
    assert (sides.highest, objects.highest) == (1, 2)
