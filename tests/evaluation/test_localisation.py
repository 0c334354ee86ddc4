"""ILSVRC's measures against a slow loop over guesses and objects, and on small cases worked out by hand."""

import numpy as np
import pytest

from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.bootstrap import draws
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.localisation import NAMES, largest, metrics, mistakes, resampled, sampled_errors
from pipeline.evaluation.measures import MEASURES

CLASSES = tuple("abcdef")
BOX = (10, 10, 50, 50)


def slow_iou(a, b) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def slow_mistakes(index, detections, iou):
    """Return by name and image what `mistakes` should, one guess and one object at a time."""
    table = {name: [] for name in NAMES}
    for image in index.images:
        objects = zip(image.boxes.tolist(), image.labels, image.ignore, strict=True)
        counted = [(box, label) for box, label, ignore in objects if not ignore]
        rows = [row for row in range(len(detections)) if detections.image_ids[row] == image.id]
        rows.sort(key=lambda row: -detections.scores[row])
        for count in (1, 5):
            class_right = place_right = False
            main = max(counted, key=lambda item: (item[0][2] - item[0][0]) * (item[0][3] - item[0][1]), default=None)
            for row in rows[:count]:
                if main is not None and detections.labels[row] == main[1]:
                    class_right = True
                    same = [box for box, label in counted if label == main[1]]
                    place_right |= any(slow_iou(detections.boxes[row], box) >= iou for box in same)
            table[f"classification_error_top{count}"].append(np.nan if main is None else 1 - class_right)
            table[f"localisation_error_top{count}"].append(np.nan if main is None else 1 - place_right)
    return np.array([table[name] for name in NAMES], np.float64)


def boxes(rng, count):
    corners = np.sort(rng.integers(0, 60, (count, 2, 2)), axis=1)
    corners[:, 1] += 5
    return corners.reshape(count, 4).astype(np.float32)


def test_the_errors_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    images, parts = [], []
    for image_id in range(1, 201):
        count = int(rng.integers(0, 5))
        truth, labels = boxes(rng, count), rng.integers(1, 4, count)
        images.append(ImageRecord(image_id, f"{image_id}", 99, 99, "", truth, labels, rng.random(count) < 0.2))
        guesses = int(rng.integers(0, 8))
        found = boxes(rng, guesses)
        near = rng.random(guesses) < 0.5
        if count:
            found[near] = truth[rng.integers(0, count, near.sum())] + rng.integers(-3, 4, (near.sum(), 4))
        scores = rng.integers(0, 5, guesses).astype(np.float32)  # many are equal
        parts.append(Detections(np.full(guesses, image_id), rng.integers(1, 4, guesses), found, scores))
    index, detections = Index(CLASSES, tuple(images)), Detections.join(parts)
    expected = slow_mistakes(index, detections, 0.5)
    np.testing.assert_array_equal(mistakes(index, detections, 0.5), expected)
    figures = metrics(index, detections, 0.5)
    assert [figures[name] for name in NAMES] == [round(error, 6) for error in np.nanmean(expected, axis=1)]
    assert figures["images"] == np.isfinite(expected[0]).sum() < 200
    assert all(0.05 < figures[name] < 0.95 for name in NAMES)


def test_the_class_of_an_image_is_that_of_its_largest_object_and_any_object_of_it_may_be_found(
    make_index, make_detections
) -> None:
    small = (60, 60, 80, 80)
    index = make_index(CLASSES, [(1, small), (1, BOX), (2, (50, 50, 80, 80))])
    found = {
        "the smaller of two": make_detections((1, 1, small, 0.9)),
        "the class alone": make_detections((1, 1, (0, 0, 5, 5), 0.9)),
        "another class": make_detections((1, 2, (50, 50, 80, 80), 0.9)),
        "nothing": make_detections(),
    }
    one = {name: metrics(index, of, 0.5) for name, of in found.items()}
    assert [(f["classification_error_top1"], f["localisation_error_top1"]) for f in one.values()] == [
        (0, 0),
        (0, 1),
        (1, 1),
        (1, 1),
    ]


def test_five_guesses_are_the_best_five(make_index, make_detections) -> None:
    index = make_index(CLASSES, [(1, BOX)], [(1, BOX)])
    wrong = [(image, 2, BOX, 0.9) for image in (1, 2) for _ in range(4)]
    fifth, sixth = (1, 1, BOX, 0.5), (2, 1, BOX, 0.5)
    figures = metrics(index, make_detections(*wrong, (2, 2, BOX, 0.6), fifth, sixth), 0.5)
    assert [figures[name] for name in NAMES] == [1, 0.5, 1, 0.5]


def test_there_are_no_five_guesses_among_four_classes(make_index, make_detections) -> None:
    figures = metrics(make_index(CLASSES[:4], [(1, BOX)]), make_detections((1, 1, BOX, 0.5)), 0.5)
    assert [figures[name] for name in NAMES] == [0, None, 0, None]
    assert figures["images"] == 1


def test_images_without_objects_that_count_are_left_out(make_index, make_detections) -> None:
    index = make_index(CLASSES, [(1, BOX)], [], [(2, BOX, True)])
    assert metrics(index, make_detections((1, 1, BOX, 0.5)), 0.5)["images"] == 1
    none = metrics(make_index(CLASSES, []), make_detections(), 0.5)
    assert none == dict.fromkeys(NAMES) | {"images": 0}


def test_an_overlap_of_exactly_the_limit_is_right(make_index, make_detections) -> None:
    half = make_detections((1, 1, (0, 0, 10, 5), 0.5))
    index = make_index(CLASSES, [(1, (0, 0, 10, 10))])
    assert metrics(index, half, 0.5)["localisation_error_top1"] == 0
    assert metrics(index, half, 0.51)["localisation_error_top1"] == 1


def test_of_equal_objects_the_first_is_the_largest() -> None:
    truth = np.array([[0, 0, 1, 1], [0, 0, 4, 2], [0, 0, 2, 4], [0, 0, 9, 9]], np.float32)
    assert largest(truth, np.array([True, True, True, False])) == 1
    assert largest(truth, np.zeros(4, np.bool_)) is None


def test_the_interval_of_a_share(make_index, make_detections) -> None:
    """60 of 100 images are right: the standard error of the error, .4, is .049."""
    index = make_index(CLASSES, *([(1, BOX)] for _ in range(100)))
    detections = make_detections(*((i, 1, BOX, 0.5) for i in range(1, 61)))
    found = MEASURES["localise"].intervals(index, detections, 0.5, samples=1000, level=0.95, seed=0)
    expected = {"low": 0.4 - 1.96 * 0.049, "high": 0.4 + 1.96 * 0.049}
    assert found["localisation_error_top1"] == pytest.approx(expected, abs=0.015)
    assert found["classification_error_top5"] == found["localisation_error_top1"]


def test_samples_are_means_over_the_images_drawn() -> None:
    wrong = np.array([[1.0, 0.0, np.nan, 1.0], [np.nan] * 4])
    times = draws(4, range(120), 3)
    found = resampled(wrong, 120, 3)
    for sample, drawn in enumerate(times):
        values = np.repeat(wrong[0], drawn)
        values = values[~np.isnan(values)]
        assert found[0, sample] == pytest.approx(values.mean() if len(values) else np.nan, nan_ok=True)
    assert np.isnan(found[1]).all()


def test_samples_without_images_that_count_have_no_error(make_index, make_detections) -> None:
    index = make_index(CLASSES, [])
    assert np.isnan(sampled_errors(index, make_detections(), 0.5, samples=10, seed=1)).all()
    intervals = MEASURES["localise"].intervals(index, make_detections(), 0.5, samples=10, level=0.9, seed=1)
    assert intervals == dict.fromkeys(NAMES)
