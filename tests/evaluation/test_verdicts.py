"""COCO's matching against faster-coco-eval, which only gives the AP, and against examples by hand."""

import numpy as np
import pytest

from pipeline.evaluation.bootstrap import mean_coco_ap
from pipeline.evaluation.coco import IOUS, coco_ap, coco_verdicts, voc_verdicts

BOX = (10, 10, 30, 30)
FAR = (60, 60, 90, 90)


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


def test_images_are_positions_in_the_index(make_index, make_detections):
    index = make_index(["a", "b"], [(2, BOX)], [(1, BOX), (1, FAR, True)], [(1, BOX), (1, FAR)])
    detections = make_detections((3, 1, BOX, 0.7), (2, 1, FAR, 0.9), (1, 2, BOX, 0.5), (3, 1, (0, 0, 5, 5), 0.8))
    verdicts = voc_verdicts(index, detections, 1, 0.5)
    assert verdicts.images.tolist() == [1, 2, 2]
    assert verdicts.correct.tolist() == [[False, False, True]]
    assert verdicts.ignored.tolist() == [[True, False, False]]
    assert verdicts.objects.tolist() == [0, 1, 2]
