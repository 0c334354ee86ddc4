"""COCO's average precision and matching: by hand, near VOC's, and the two against each other.

faster-coco-eval gives the AP alone, so matches are checked by the AP that follows from them.
"""

import numpy as np
import pytest

from pipeline.evaluation.bootstrap import mean_coco_ap
from pipeline.evaluation.coco import IOUS, SIZES, coco_ap_by_size, coco_verdicts
from pipeline.evaluation.voc import area_ap, rank, voc_verdicts

BOX = (10, 10, 30, 30)
FAR = (60, 60, 90, 90)


def coco_ap(index, detections):
    return coco_ap_by_size(index, detections)["all"]


def test_worked_example(make_index, make_detections):
    """One object found at overlap 0.75 (15 of 20 rows), after a false positive that outranks it: precision 1/2."""
    index = make_index(["a"], [(1, BOX)])
    detections = make_detections((1, 1, (60, 60, 90, 90), 0.9), (1, 1, (10, 10, 30, 25), 0.8))
    expected = np.where(np.arange(50, 100, 5) <= 75, 0.5, 0)
    np.testing.assert_allclose(coco_ap(index, detections)[0], expected)


def test_half_of_the_objects_found(make_index, make_detections):
    """Recall 1/2 at precision 1: COCO's 101 recall levels count 0, .01, ..., .5, that is 51 of them."""
    index = make_index(["a"], [(1, BOX), (1, (60, 60, 90, 90))])
    np.testing.assert_allclose(coco_ap(index, make_detections((1, 1, BOX, 0.9)))[0], 51 / 101)


def test_ignored_objects_are_no_positives_and_absorb_detections(make_index, make_detections):
    index = make_index(["a"], [(1, BOX, True), (1, (60, 60, 90, 90))])
    detections = make_detections((1, 1, BOX, 0.9), (1, 1, BOX, 0.8), (1, 1, (60, 60, 90, 90), 0.7))
    np.testing.assert_allclose(coco_ap(index, detections)[0], 1)


def test_without_detections_and_without_objects(make_index, make_detections):
    index = make_index(["a", "b", "c"], [(1, BOX), (2, BOX, True)], [])
    for detections in (make_detections(), make_detections((1, 3, BOX, 0.9))):
        result = coco_ap(index, detections)
        assert result.shape == (3, len(IOUS))
        assert (result[0] == 0).all()
        assert np.isnan(result[1:]).all()
    nothing_to_find = coco_ap(make_index(["a"], []), make_detections((1, 1, BOX, 0.5)))
    assert np.isnan(nothing_to_find).all()


def test_ap50_is_near_voc_s_area_on_real_detections(voc100, capfd):
    """Both are areas under the same curve; COCO's has 101 steps and a second choice."""
    ap50 = coco_ap(voc100.index, voc100.detections)[:, 0]
    for label, name in enumerate(voc100.index.classes, 1):
        ranking = rank(voc100.index, voc100.detections, label)
        assert ap50[label - 1] == pytest.approx(area_ap(ranking.recall, ranking.precision), abs=0.05), name
    assert capfd.readouterr().out == ""


def test_sizes_by_hand(make_index, make_detections):
    """The small object is found after an error of medium size, which counts for its size alone; the large is missed."""
    small, medium, large = (0, 0, 30, 30), (0, 0, 40, 40), (0, 0, 97, 97)
    index = make_index(["a"], [(1, small)], [(1, medium)], [(1, large)])
    detections = make_detections((2, 1, (50, 50, 90, 90), 0.9), (1, 1, small, 0.8), (2, 1, medium, 0.7))
    means = {size: aps.mean() for size, aps in coco_ap_by_size(index, detections).items()}
    assert means == pytest.approx({"all": 67 / 101 * 2 / 3, "small": 1, "medium": 1 / 2, "large": 0})


def test_an_area_at_the_limit_is_of_both_sizes(make_index, make_detections):
    square = (0, 0, 32, 32)
    aps = coco_ap_by_size(make_index(["a"], [(1, square)]), make_detections((1, 1, square, 0.9)))
    assert {size for size, ap in aps.items() if (ap == 1).all()} == {"all", "small", "medium"}
    assert np.isnan(aps["large"]).all()


def test_sizes_without_detections(make_index, make_detections):
    aps = coco_ap_by_size(make_index(["a"], [(1, (0, 0, 40, 40)), (1, BOX, True)]), make_detections())
    assert {size for size, ap in aps.items() if (ap == 0).all()} == {"all", "medium"}
    assert list(aps) == list(SIZES)


def each_ap(index, detections):
    once = np.ones((1, len(index.images)), np.int64)
    return [mean_coco_ap([coco_verdicts(index, detections, i)], once)[0] for i in range(1, len(index.classes) + 1)]


def test_every_class_equals_faster_coco_eval(voc100):
    """Twenty classes, ten overlaps, difficult objects as crowds."""
    expected = coco_ap(voc100.index, voc100.detections).mean(axis=1)
    np.testing.assert_allclose(each_ap(voc100.index, voc100.detections), expected, atol=1e-9)


def test_many_random_scenes_equal_faster_coco_eval(make_index, make_detections):
    """Boxes on a coarse grid, so that equal scores, equal overlaps and overlaps at the very limit are many."""
    rng = np.random.default_rng(3)

    def box():
        x, y = rng.integers(0, 4, 2) * 5
        return x, y, x + rng.choice([15, 20, 25]), y + rng.choice([15, 20])

    for _ in range(30):
        scenes = [[(1, box(), bool(rng.random() < 0.2)) for _ in range(rng.integers(0, 6))] for _ in range(4)]
        index = make_index(["a"], *scenes)
        rows = ((rng.integers(1, 5), 1, box(), rng.integers(1, 8) / 8) for _ in range(25))
        detections = make_detections(*rows)
        expected = coco_ap(index, detections).mean()
        if not np.isnan(expected):
            assert each_ap(index, detections) == pytest.approx([expected], abs=1e-9)


def test_only_the_best_hundred_of_an_image_count(make_index, make_detections):
    wrong = [(1, 1, FAR, 0.9) for _ in range(100)]
    detections = make_detections(*wrong, (1, 1, BOX, 0.8), (2, 1, BOX, 0.7))
    verdicts = coco_verdicts(make_index(["a"], [(1, BOX)], [(1, BOX)]), detections, 1)
    assert verdicts.correct.shape == (len(IOUS), 101)
    assert verdicts.correct[0].nonzero()[0].tolist() == [100]


def test_voc_has_no_second_choice_and_coco_has(make_index, make_detections):
    index = make_index(["a"], [(1, (0, 0, 20, 20)), (1, (4, 0, 24, 20))])
    detections = make_detections((1, 1, (0, 0, 20, 20), 0.9), (1, 1, (1, 0, 21, 20), 0.8))
    assert voc_verdicts(index, detections, 1, 0.5).correct.tolist() == [[True, False]]
    assert coco_verdicts(index, detections, 1).correct[0].tolist() == [True, True]
