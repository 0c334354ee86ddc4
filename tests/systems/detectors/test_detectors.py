"""Detection in pictures, against the split with its caches on the same images and models."""

import numpy as np
import pytest
import torch

from pipeline.core.clock import Clock
from pipeline.evaluation.detections import Detections
from pipeline.registry import all_systems, load

CLASSICAL = {"read", "proposals", "convolution", "pooling", "heads", "svm", "box_regression", "suppression"}
PHASES = {
    "hog_svm": {"pooling", "svm", "box_regression", "suppression"},
    "dpm": {"pooling", "svm", "box_regression", "suppression"},
    "bow": {"convolution", "svm"},
    "rcnn": CLASSICAL - {"read"},
    "sppnet": CLASSICAL - {"read"},
    "fast_rcnn": {"proposals", "convolution", "pooling", "heads", "suppression"},
    "faster_rcnn": {"proposals", "convolution", "pooling", "heads", "suppression"},
    "yolo": {"convolution", "suppression"},
    "ssd": {"convolution", "suppression"},
    "overfeat": {"convolution", "suppression"},
    "localise": {"convolution", "heads", "suppression"},
    "retinanet": {"convolution", "suppression"},
}
PROPOSING = ["rcnn", "sppnet", "fast_rcnn", "faster_rcnn"]


def unmatched(found: Detections, expected: Detections) -> int:
    """Count the detections of either that the other has not: same class, box to 0.02 pixels, score to 0.001."""
    left = list(range(len(found.labels)))
    lost = 0
    for label, box, score in zip(expected.labels, expected.boxes, expected.scores, strict=True):
        near = [
            i
            for i in left
            if found.labels[i] == label
            and abs(found.scores[i] - score) < 0.001
            and np.abs(found.boxes[i] - box).max() < 0.02
        ]
        if near:
            left.remove(near[0])
        lost += not near
    return lost + len(left)


def check(made, system: str) -> int:
    """Compare on all images and return the number of detections."""
    found = load(system, made.models, "cpu").detect(made.images)
    cached = made.in_split
    for image, own in zip(made.index.images, found, strict=True):
        expected = cached.take(cached.image_ids == image.id)
        assert unmatched(own, expected) == 0, image.file
        assert (np.diff(own.scores) <= 0).all()
        assert own.boxes.dtype == np.float32
    return sum(len(own.labels) for own in found)


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
@pytest.mark.parametrize("box_regression", [True, False])
def test_svm_systems_find_what_their_caches_give(make, system: str, box_regression: bool) -> None:
    made = make(system, box_regression=box_regression, min_score=None, per_class_budget=100)
    assert check(made, system) > 50
    assert load(system, made.models, "cpu").classes == ("red", "blue")


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
def test_the_budget_of_the_split_becomes_thresholds(make, system: str) -> None:
    made = make(system, min_score=None, per_class_budget=3)
    plenty = make(system, min_score=None, per_class_budget=100)
    assert check(made, system) <= 5 * 2 * 3 < check(plenty, system)


@pytest.mark.parametrize("changed", [{}, {"box_fit": False, "per_class_budget": 5}, {"min_score": None}])
def test_filters_find_in_pixels_what_they_find_in_cached_pyramids(make, changed: dict) -> None:
    assert check(make("hog_svm", **changed), "hog_svm") > 20


@pytest.mark.parametrize("changed", [{}, {"box_prediction": False, "per_class_budget": 5}, {"min_score": None}])
def test_parts_are_found_in_pixels_where_they_are_found_in_cached_pyramids(make, changed: dict) -> None:
    assert check(make("dpm", **changed), "dpm") > 20


@pytest.mark.parametrize("system", ["hog_svm", "dpm"])
@pytest.mark.parametrize("shape", [(3, 900), (9, 40), (1, 1), (300, 12)])
def test_filters_see_images_of_any_shape(make, system: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    (found,) = load(system, make(system).models, "cpu").detect([image])
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= shape[::-1]).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"protocol": "budget", "per_class_budget": 4},
        {"protocol": "budget", "compressed": True},
        {"protocol": "threshold", "min_score": 0.3},
    ],
)
def test_fast_rcnn_finds_the_same(make, changed: dict) -> None:
    assert check(make("fast_rcnn", **changed), "fast_rcnn") > 5


@pytest.mark.parametrize("system", ["overfeat", "faster_rcnn", "yolo", "ssd", "retinanet"])
def test_systems_without_caches_find_the_same_in_other_batches(make, system: str) -> None:
    assert check(make(system, min_score=0.0), system) > 5


def test_subwindow_search_finds_what_the_cached_words_give(make) -> None:
    made = make("bow", min_score=-1)
    assert check(made, "bow") > 5
    few = check(make("bow", min_score=-1, max_per_class=1), "bow")
    assert few <= 2 * len(made.index.images)


@pytest.mark.parametrize("system", ["overfeat", "localise", "faster_rcnn", "yolo", "ssd", "retinanet"])
def test_images_of_several_sizes_in_one_call_are_those_alone(make, system: str) -> None:
    made = make(system)
    detector = load(system, made.models, "cpu")
    first, second, third = made.images[:3]
    images = [first, second[:, :70].copy(), third, np.rot90(first).copy()]
    for own, image in zip(detector.detect(images), images, strict=True):
        (alone,) = detector.detect([image])
        assert unmatched(own, alone) == 0
        assert len(alone.labels)
        assert (own.boxes[:, 2:] <= image.shape[1::-1]).all()


@pytest.mark.parametrize("system", list(all_systems()))
def test_every_phase_of_a_system_is_timed(make, system: str) -> None:
    made = make(system)
    detector = load(system, made.models, "cpu")
    clock = Clock(torch.device("cpu"))
    detector.detect(made.images[:1], clock)
    assert clock.seconds.keys() == PHASES[system]
    assert all(seconds > 0 for seconds in clock.seconds.values())


@pytest.mark.parametrize("system", PROPOSING)
def test_an_image_in_which_nothing_is_proposed_holds_nothing(make, system: str) -> None:
    detector = load(system, make(system).models, "cpu")
    narrow = np.full((7, 60, 3), 128, np.uint8)  # the smallest proposal has 8 pixels a side, of selective search 10
    for found in detector.detect([narrow, narrow]):
        assert found.boxes.shape == (0, 4)
        assert found.boxes.dtype == np.float32


@pytest.mark.parametrize("system", ["fast_rcnn", "faster_rcnn"])
@pytest.mark.parametrize("shape", [(3, 2000), (30, 2000), (40, 2000), (2000, 3), (1, 1)])
def test_an_image_may_have_any_shape(make, system: str, shape: tuple[int, int]) -> None:
    """Resized, the strips are thinner than the 8 pixels of one cell."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    (found,) = load(system, make(system, min_score=0.0).models, "cpu").detect([image])
    assert np.isfinite(found.scores).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= shape[::-1]).all()


@pytest.mark.parametrize("system", list(all_systems()))
def test_no_images_give_nothing(make, system: str) -> None:
    assert load(system, make(system).models, "cpu").detect([]) == []


@pytest.mark.parametrize("system", list(all_systems()))
def test_files_are_read_and_timed(make, system: str) -> None:
    made = make(system)
    detector = load(system, str(made.models), "cpu")
    clock = Clock(torch.device("cpu"))
    file = made.root / made.index.images[0].file
    by_path, by_name, pixels = detector.detect([file, str(file), made.images[0]], clock)
    assert unmatched(by_path, pixels) == unmatched(by_name, pixels) == 0
    assert clock.seconds["read"] > 0
