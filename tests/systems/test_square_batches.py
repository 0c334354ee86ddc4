"""The batches that networks on squares train on, as a function of the step."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from pipeline.systems.square_batches import SquareBatches
from pipeline.training import to_device


def as_they_are(image, boxes, labels, rng):
    return image, boxes, labels


def left_half(image, boxes, labels, rng):
    middle = image.shape[1] // 2
    inside = boxes[:, 2] <= middle
    return image[:, :middle], boxes[inside], labels[inside]


def marked(image, boxes, labels, rng):
    return np.full_like(image, rng.integers(256)), boxes, labels


def make(squares, cache, augment=as_they_are, records=None, **options) -> SquareBatches:
    options = {"side": 64, "per_step": 3, "difficult": True, "seed": 1} | options
    return SquareBatches(squares[1] if records is None else records, cache, augment, **options)


@pytest.mark.parametrize("difficult", [True, False])
def test_crowds_are_no_objects(squares, cache, difficult: bool) -> None:
    every = [np.ones(len(record.boxes), np.bool_) for record in squares[1]]
    records = [replace(record, ignore=each, crowd=each) for record, each in zip(squares[1], every, strict=True)]
    records[0] = squares[1][0]
    batches = make(squares, cache, records=records, difficult=difficult, per_step=8)
    batch = batches(0)
    counts = dict(zip(batch.image_ids, map(len, batch.boxes), strict=True))
    assert {image: count for image, count in counts.items() if count} == {1: len(records[0].boxes)}


def test_a_pass_holds_every_image_once_with_its_objects_in_the_square(squares, cache) -> None:
    records = {record.id: record for record in squares[1]}
    batches = make(squares, cache, per_step=4)
    seen = []
    for step in range(2):
        batch = batches(step)
        assert batch.images.shape == (4, 3, 64, 64)
        assert batch.images.dtype == torch.uint8
        for image_id, boxes, labels in zip(batch.image_ids, batch.boxes, batch.labels, strict=True):
            expected = records[image_id].boxes * [64 / 112, 64 / 96, 64 / 112, 64 / 96]
            assert np.allclose(boxes.numpy(), expected)
            assert labels.tolist() == records[image_id].labels.tolist()
        seen += batch.image_ids
    assert sorted(seen) == sorted(records)
    assert any(len(boxes) == 0 for step in range(2) for boxes in batches(step).boxes)


def test_a_step_is_repeated_exactly_by_another_process(squares, cache) -> None:
    batches = make(squares, cache, marked)
    there = pickle.loads(pickle.dumps(batches))
    for step in (5, 0, 5):
        assert torch.equal(batches(step).images, there(step).images)
    values = {int(image[0, 0, 0]) for step in range(4) for image in batches(step).images}
    assert len(values) > 6  # each image of each step draws for itself


def test_the_augmented_image_is_what_is_stretched(squares, cache) -> None:
    batch = make(squares, cache, left_half)(0)
    for image_id, boxes in zip(batch.image_ids, batch.boxes, strict=True):
        whole = squares[1][image_id - 1].boxes
        expected = whole[whole[:, 2] <= 56] * [64 / 56, 64 / 96, 64 / 56, 64 / 96]
        assert np.allclose(boxes.numpy(), expected)


def test_difficult_objects_are_dropped_or_used(squares, cache) -> None:
    records = [replace(record, ignore=np.arange(len(record.labels)) == 0) for record in squares[1]]
    for difficult, expected in ((True, 10), (False, 3)):
        batches = make(squares, cache, records=records, difficult=difficult, per_step=8)
        assert sum(len(boxes) for boxes in batches(0).boxes) == expected
        assert sum(len(labels) for labels in batches(0).labels) == expected


def test_without_any_object_the_sentence_says_so(squares, cache) -> None:
    empty = [squares[1][7]]
    with pytest.raises(InputError, match="no image has an object"):
        make(squares, cache, records=empty)


def test_to_device_keeps_bytes_and_layout(squares, cache) -> None:
    batch = make(squares, cache)(0)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    moved = to_device(batch, torch.device("cpu"))
    assert torch.equal(moved.images, batch.images)
    assert moved.images.dtype == torch.uint8
    assert moved.image_ids == batch.image_ids
