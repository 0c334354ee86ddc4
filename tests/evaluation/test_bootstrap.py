"""A sample of images against the same images really copied, and the interval against what is known of it."""

import time
from dataclasses import replace

import numpy as np
import pytest

from pipeline.data.index import Index
from pipeline.evaluation.bootstrap import (
    NAMES,
    draws,
    interval,
    intervals,
    mean_coco_ap,
    mean_voc_aps,
    sampled_maps,
)
from pipeline.evaluation.coco import coco_ap_by_size, coco_verdicts
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.measures import MEASURES
from pipeline.evaluation.voc import area_ap, eleven_point_ap, rank, voc_verdicts

BOX = (10, 10, 30, 30)
DETECTION = MEASURES["detect"]


def copied(index, detections, times):
    """Return the data with each image ``times`` over under new ids, copies of a detection side by side."""
    images, new_ids = [], {}
    for image, count in zip(index.images, times, strict=True):
        ids = [len(images) + i + 1 for i in range(count)]
        new_ids[image.id] = ids
        images += [replace(image, id=new_id) for new_id in ids]
    rows = [(row, new_id) for row, image in enumerate(detections.image_ids.tolist()) for new_id in new_ids[image]]
    which, ids = np.array(rows, np.int64).reshape(-1, 2).T
    taken = detections.take(which)
    return Index(index.classes, tuple(images)), Detections(ids, taken.labels, taken.boxes, taken.scores)


def mean_aps(index, detections):
    """Return the three mean APs by the evaluator itself."""
    ranked = [rank(index, detections, label) for label in range(1, len(index.classes) + 1)]
    curves = [(ranking.recall, ranking.precision) for ranking in ranked if ranking.positives]
    eleven_point = np.mean([eleven_point_ap(*curve) for curve in curves])
    coco = coco_ap_by_size(index, detections)["all"]
    return eleven_point, np.mean([area_ap(*curve) for curve in curves]), np.nanmean(coco)


def resampled(index, detections, times):
    """Return the same three by weights, without copies."""
    labels, times = range(1, len(index.classes) + 1), np.array([times])
    voc = mean_voc_aps([voc_verdicts(index, detections, label, 0.5) for label in labels], times)
    coco = mean_coco_ap([coco_verdicts(index, detections, label) for label in labels], times)
    return voc[0, 0], voc[1, 0], coco[0]


def test_each_image_once_is_the_figure_itself(voc100):
    case = voc100.index, voc100.detections
    assert resampled(*case, np.ones(100, np.int64)) == pytest.approx(mean_aps(*case), abs=1e-9)


@pytest.mark.parametrize("sample", range(4))
def test_weights_equal_real_copies(voc100, sample):
    """Twenty classes, difficult objects, and about 37 images that were not drawn."""
    times = draws(100, [sample], seed=1)[0]
    expected = mean_aps(*copied(voc100.index, voc100.detections, times))
    assert resampled(voc100.index, voc100.detections, times) == pytest.approx(expected, abs=1e-9)


def test_weights_equal_real_copies_where_scores_are_equal(voc100):
    detections = replace(voc100.detections, scores=np.round(voc100.detections.scores, 1))
    times = draws(100, [0], seed=2)[0]
    index, copies = copied(voc100.index, detections, times)
    assert resampled(voc100.index, detections, times)[:2] == pytest.approx(mean_aps(index, copies)[:2], abs=1e-9)


def test_a_class_without_objects_in_the_sample_drops_out(make_index, make_detections):
    """Class a, only in image 1, has AP 1; class b, only in image 2, has AP 0."""
    case = make_index(["a", "b"], [(1, BOX)], [(2, BOX)], []), make_detections((1, 1, BOX, 0.9))
    assert resampled(*case, [1, 1, 1]) == pytest.approx((0.5, 0.5, 0.5))
    assert resampled(*case, [3, 0, 0]) == pytest.approx((1, 1, 1))
    assert resampled(*case, [0, 3, 0]) == pytest.approx((0, 0, 0))
    assert np.isnan(resampled(*case, [0, 0, 3])).all()


def test_draws_depend_on_seed_and_number_alone():
    times = draws(50, range(20), seed=7)
    assert times.shape == (20, 50)
    assert (times.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(draws(50, [13], seed=7)[0], times[13])
    assert (draws(50, [13], seed=8)[0] != times[13]).any()
    # An image is left out of a sample with probability (1 - 1/50)^50.
    assert (draws(50, range(400), seed=7) == 0).mean() == pytest.approx(0.98**50, abs=0.02)


def test_the_interval_of_a_share(make_index, make_detections):
    """One object an image, 60 of 100 found without an error: AP is the share, whose standard error is 0.049."""
    index = make_index(["a"], *([(1, BOX)] for _ in range(100)))
    detections = make_detections(*((i, 1, BOX, i / 100) for i in range(1, 61)))
    found = DETECTION.intervals(index, detections, 0.5, samples=1000, level=0.95, seed=0)
    assert found["map_voc"] == pytest.approx({"low": 0.6 - 1.96 * 0.049, "high": 0.6 + 1.96 * 0.049}, abs=0.015)
    assert found["map_coco"] == pytest.approx(found["map_voc"], abs=0.011)
    narrow = DETECTION.intervals(index, detections, 0.5, samples=1000, level=0.5, seed=0)["map_voc"]
    assert narrow == pytest.approx({"low": 0.6 - 0.674 * 0.049, "high": 0.6 + 0.674 * 0.049}, abs=0.011)


def differences(index, detections, baseline, samples=1000, seed=0, level=0.95):
    maps, others = (sampled_maps(index, d, 0.5, samples=samples, seed=seed) for d in (detections, baseline))
    return intervals(NAMES, maps - others, level)


def test_a_difference_is_that_of_the_same_images_really_copied(voc100):
    """Half of the detections missing, sample by sample beside all of them, each sample's images copied out."""
    half = voc100.detections.take(np.arange(len(voc100.detections)) % 2 == 0)
    both = []
    for times in draws(100, range(3), seed=5):
        data = (copied(voc100.index, d, times) for d in (voc100.detections, half))
        full, less = (np.array(mean_aps(*case)) for case in data)
        both.append(less - full)
    found = differences(voc100.index, half, voc100.detections, samples=3, seed=5, level=1)
    low, high = np.min(both, axis=0), np.max(both, axis=0)
    assert [limits["low"] for limits in found.values()] == pytest.approx(low, abs=1e-6)
    assert [limits["high"] for limits in found.values()] == pytest.approx(high, abs=1e-6)


def test_a_steady_gain_is_certain_though_both_intervals_overlap(make_index, make_detections):
    """Of 1 to 10 objects in an image one more is found than before, in each image.

    Without a wrong detection the AP is the share found. It depends on which images are drawn; the gain is images over
    objects in every sample, 100 of 550 on the whole.
    """
    places = [(10 * i, 0, 10 * i + 10, 10) for i in range(10)]
    index = make_index(["a"], *([(1, box) for box in places[: i % 10 + 1]] for i in range(100)))
    # None of the objects before in every second image, all but one in the others.
    before = [(i + 1, 1, box, 0.5) for i in range(100) for box in places[: i % 10 if i // 10 % 2 else 0]]
    gained = [(i + 1, 1, places[i % 10], 0.5) for i in range(100)]
    old, new = make_detections(*before), make_detections(*before, *gained)
    old_alone, new_alone = (
        DETECTION.intervals(index, d, 0.5, samples=1000, level=0.95, seed=0)["map_voc"] for d in (old, new)
    )
    assert old_alone["low"] < new_alone["low"] < old_alone["high"] < new_alone["high"]
    gain = differences(index, new, old)["map_voc"]
    assert 0.15 < gain["low"] < 100 / 550 < gain["high"] < 0.22
    loss = differences(index, old, new)["map_voc"]
    assert loss == {"low": -gain["high"], "high": -gain["low"]}


def test_the_same_detections_do_not_differ_at_all(voc100):
    found = differences(voc100.index, voc100.detections, voc100.detections, samples=60)
    assert found == {name: {"low": 0, "high": 0} for name in ("map_voc07", "map_voc", "map_coco")}
    shuffled = voc100.detections.ranked()
    assert differences(voc100.index, shuffled, voc100.detections, samples=60) == found


def test_where_there_is_nothing_to_find_a_difference_has_no_interval(make_index, make_detections):
    found = differences(make_index(["a"], []), make_detections((1, 1, BOX, 0.5)), make_detections(), samples=60)
    assert found == {"map_voc07": None, "map_voc": None, "map_coco": None}


def test_percentiles_by_hand():
    assert interval(np.array([*range(101), np.nan]), 0.9) == {"low": 5, "high": 95}
    assert interval(np.array([np.nan]), 0.9) is None
    # A change of less than what is written is none, without a sign.
    assert str(interval(np.array([-1e-9, -1e-9]), 0.9)) == "{'low': 0.0, 'high': 0.0}"


def test_intervals_of_data_without_objects_and_without_detections(make_index, make_detections):
    options = {"samples": 60, "level": 0.95, "seed": 0}
    nothing = DETECTION.intervals(make_index(["a"], []), make_detections((1, 1, BOX, 0.5)), 0.5, **options)
    assert nothing == {"map_voc07": None, "map_voc": None, "map_coco": None}
    missed = DETECTION.intervals(make_index(["a"], [(1, BOX)]), make_detections(), 0.5, **options)
    assert missed == {name: {"low": 0, "high": 0} for name in nothing}


def test_a_real_test_set_takes_seconds(voc100):
    start = time.process_time()
    found = DETECTION.intervals(voc100.index, voc100.detections, 0.5, samples=1000, level=0.95, seed=0)
    assert time.process_time() - start < 10
    points = dict(zip(found, mean_aps(voc100.index, voc100.detections), strict=True))
    assert all(limits["low"] < points[name] < limits["high"] for name, limits in found.items())
