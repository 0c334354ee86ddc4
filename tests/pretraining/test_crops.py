"""Object crops: whole passes, alternating sizes, jitter, and background that is background."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.core.boxes import iou
from pipeline.pretraining import CropBatches


def drawn(batch) -> list[tuple]:
    samples = batch.samples
    return list(zip(samples.images.tolist(), samples.labels.tolist(), map(tuple, samples.boxes.tolist()), strict=True))


def test_whole_passes_alternate_between_the_sizes(squares: Callable, settings: Callable) -> None:
    """18 objects at 12 a batch: two steps a pass, whatever the number of sizes."""
    made = squares(4, 4, 4, 3, 3)
    crops = CropBatches(made.images, made.cache, settings(sizes=(32, 24, 40)), seed=1)
    assert crops.steps_per_pass == 2
    assert [crops.size(step) for step in range(8)] == [32, 32, 24, 24, 40, 40, 32, 32]
    assert [crops(step).size for step in (0, 2, 4)] == [32, 24, 40]


def test_a_pass_shows_every_object(squares: Callable, settings: Callable) -> None:
    made = squares(4, 4, 4, 4, 4, 0, 4)
    objects = {
        (i, tuple(box), label)
        for i, r in enumerate(made.images)
        for box, label in zip(r.boxes.tolist(), r.labels.tolist(), strict=True)
    }
    crops = CropBatches(made.images, made.cache, settings(), seed=1, jitter=0.0)
    assert crops.steps_per_pass == 2
    orders = []
    for number in range(3):
        seen = [
            (i, box, label) for step in (2 * number, 2 * number + 1) for i, label, box in drawn(crops(step)) if label
        ]
        assert len(seen) == 24
        assert set(seen) == objects
        orders.append(seen)
    assert orders[0] != orders[1]


def test_a_batch_is_filled_where_objects_are_few(squares: Callable, settings: Callable) -> None:
    made = squares(2, 1)
    batch = CropBatches(made.images, made.cache, settings(), seed=1)(0)
    labels = batch.samples.labels
    assert (len(labels), (labels > 0).sum()) == (16, 12)


def test_the_jitter_moves_each_corner_by_a_tenth_of_the_side_at_most(squares: Callable, settings: Callable) -> None:
    made = squares(1, 1)
    crops = CropBatches(made.images, made.cache, settings(), seed=1)
    moves = []
    for step in range(30):
        for image, label, box in drawn(crops(step)):
            truth = made.images[image].boxes[0]
            if label:
                assert label == made.images[image].labels[0]
                moves.append((np.array(box) - truth) / (truth[2] - truth[0]))
    assert 0.095 < np.abs(moves).max() <= 0.1 + 1e-6
    assert np.abs(np.mean(moves, axis=0)).max() < 0.02


def test_background_shares_little_with_objects_and_has_their_sizes(squares: Callable, settings: Callable) -> None:
    made = squares(1, 2, 0)
    crops = CropBatches(made.images, made.cache, settings(), seed=1)
    sides = set()
    for step in range(40):
        batch = drawn(crops(step))
        objects = {round(box[2] - box[0], 2) for _, label, box in batch if label}
        for image, label, box in batch:
            if label == 0:
                assert iou(box, made.images[image].boxes).max(initial=0) < 0.3
                assert 0 <= box[0] < box[2] <= 96
                assert 0 <= box[1] < box[3] <= 96
                assert round(box[2] - box[0], 2) in objects or any(abs(box[2] - box[0] - o) < 0.02 for o in objects)
                sides.add(image)
    assert sides == {0, 1, 2}


def test_a_share_of_background_of_none_is_none(squares: Callable, settings: Callable) -> None:
    made = squares(2, 2)
    assert (CropBatches(made.images, made.cache, settings(background=0), seed=1)(0).samples.labels > 0).all()


def test_without_any_object_all_is_background(squares: Callable, settings: Callable) -> None:
    made = squares(0, 0)
    crops = CropBatches(made.images, made.cache, settings(), seed=1)
    batch = crops(3)
    assert batch.samples.labels.tolist() == [0] * 16
    assert batch.samples.boxes[:, 2] - batch.samples.boxes[:, 0] == pytest.approx(24)


def test_a_batch_depends_on_seed_and_step_alone(squares: Callable, settings: Callable) -> None:
    made = squares(3, 2)
    one, other = (CropBatches(made.images, made.cache, settings(), seed=1) for _ in range(2))
    first = drawn(one(7))
    other(2)
    assert drawn(other(7)) == first
    assert drawn(one(8)) != first
    assert drawn(CropBatches(made.images, made.cache, settings(), seed=2)(7)) != first


@pytest.mark.parametrize(("flip", "share"), [(True, 0.5), (False, 0.0)])
def test_crops_are_mirrored_where_that_is_wanted(
    squares: Callable, settings: Callable, flip: bool, share: float
) -> None:
    made = squares(2, 2)
    crops = CropBatches(made.images, made.cache, settings(flip=flip), seed=1)
    assert np.mean([crops(step).samples.mirrored.mean() for step in range(30)]) == pytest.approx(share, abs=0.08)
