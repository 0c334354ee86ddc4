import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.evaluation.errors import (
    BG,
    CORRECT,
    LOC,
    OTH,
    SIM,
    error_shares,
    error_trend,
    pooled_trend,
    similar_classes,
    top_shares,
    type_positions,
)

CLASSES = ("cat", "dog", "car")
PETS = {"pets": ("cat", "dog")}
CAT, DOG, CAR = (0, 0, 20, 20), (30, 0, 50, 20), (60, 0, 80, 20)


def below(box, share):
    """Return ``box`` moved down so that it shares ``share`` of its area with the original one."""
    shift = 20 * (1 - share)
    return box[0], box[1] + shift, box[2], box[3] + shift


@pytest.fixture
def scene(make_index):
    return make_index(CLASSES, [(1, CAT), (2, DOG), (3, CAR)])


def types(index, detections, sets=PETS, **options):
    return type_positions(index, detections, 1, similar_classes(index.classes, sets), **options).tolist()


def test_each_type_once(scene, make_detections):
    """Moved to share half its area a box has overlap 1/3, to share a fifth 1/9, to share a tenth 1/19."""
    detections = make_detections(
        (1, 1, CAT, 0.9),
        (1, 1, CAT, 0.8),
        (1, 1, below(CAT, 0.2), 0.7),
        (1, 1, below(CAT, 0.1), 0.6),
        (1, 1, DOG, 0.5),
        (1, 1, CAR, 0.4),
        (1, 1, below(CAR, 0.1), 0.3),
        (1, 2, DOG, 0.99),
    )
    assert types(scene, detections) == [CORRECT, LOC, LOC, BG, SIM, OTH, BG]
    assert types(scene, detections, sets={}) == [CORRECT, LOC, LOC, BG, OTH, OTH, BG]
    assert types(scene, detections, limit=2) == [CORRECT, LOC]


def test_own_class_goes_before_similar_before_other(make_index, make_detections):
    index = make_index(CLASSES, [(1, below(CAT, 0.5)), (2, CAT), (3, CAT)], [(2, CAT), (3, CAT)])
    assert types(index, make_detections((1, 1, CAT, 0.9), (2, 1, CAT, 0.8))) == [LOC, SIM]


def test_unlike_the_ap_a_claimed_object_leaves_a_second_choice(make_index, make_detections):
    index = make_index(CLASSES, [(1, (0, 0, 20, 20)), (1, (4, 0, 24, 20))])
    assert types(index, make_detections((1, 1, (0, 0, 20, 20), 0.9), (1, 1, (1, 0, 21, 20), 0.8))) == [CORRECT, CORRECT]


def test_a_difficult_object_takes_its_detection_out(make_index, make_detections):
    index = make_index(CLASSES, [(1, CAT, True)])
    assert types(index, make_detections((1, 1, CAT, 0.9), (1, 1, CAT, 0.8), (1, 1, CAR, 0.7))) == [LOC, BG]


def test_images_without_objects(make_index, make_detections):
    assert types(make_index(CLASSES, []), make_detections((1, 1, CAT, 0.9))) == [BG]
    assert types(make_index(CLASSES, []), make_detections()) == []


def test_classes_in_several_sets():
    similar = similar_classes(("a", "b", "c", "d"), {"first": ("a", "b"), "second": ("b", "c")})
    pairs = {(int(i), int(j)) for i, j in np.argwhere(similar)}
    assert pairs == {(1, 2), (2, 1), (2, 3), (3, 2)}


def test_an_unknown_similar_class_is_named():
    with pytest.raises(InputError, match=r"evaluation\.similar\.pets: 'cow' is no class .* it has cat, dog"):
        similar_classes(("cat", "dog"), {"pets": ("cat", "cow")})


def test_shares_of_the_top_n(make_index, make_detections):
    """Cats: 2 objects, so the top 2 of 3 (Correct, Sim); dogs: 1 object, BG first. The car was never detected."""
    index = make_index(CLASSES, [(1, CAT), (2, DOG), (3, CAR)], [(1, CAT), (1, DOG, True)])
    detections = make_detections(
        (1, 1, CAT, 0.9), (1, 1, DOG, 0.8), (2, 1, CAT, 0.7), (1, 2, (0, 60, 20, 80), 0.9), (1, 2, DOG, 0.8)
    )
    shares = top_shares(index, detections, PETS)
    np.testing.assert_allclose(shares, [1 / 4, 0, 1 / 4, 0, 1 / 2])
    np.testing.assert_allclose(error_shares(shares), [0, 1 / 3, 0, 2 / 3])


def test_the_pies_go_by_the_nearest_object(make_index, make_detections):
    """A false cat overlaps a dog by 120 / 680 = .18 and a car by 280 / 520 = .54: the trend says Sim, the pies Oth."""
    index = make_index(CLASSES, [(1, (60, 60, 80, 80)), (2, (14, 0, 34, 20)), (3, (0, 6, 20, 26))])
    detections = make_detections((1, 1, CAT, 0.9))
    assert types(index, detections) == [SIM]
    assert top_shares(index, detections, PETS).tolist() == [0, 0, 0, 1, 0]
    assert top_shares(index, detections, {"other": ("cat", "car")}).tolist() == [0, 0, 1, 0, 0]
    touching = make_index(CLASSES, [(1, below(CAT, 0.2)), (3, CAT)])
    assert top_shares(touching, detections, PETS).tolist() == [0, 1, 0, 0, 0], "its own class goes before the nearest"


def test_the_pies_count_what_claims_a_difficult_object(make_index, make_detections):
    """One object to find, so the first of three detections is all: it lies on a difficult cat."""
    index = make_index(CLASSES, [(1, CAT, True), (1, CAR)])
    detections = make_detections((1, 1, CAT, 0.9), (1, 1, (0, 60, 20, 80), 0.8), (1, 1, CAR, 0.7))
    assert types(index, detections, limit=1) == [BG]
    assert top_shares(index, detections, PETS).tolist() == [1, 0, 0, 0, 0]


def test_no_errors_and_no_detections(scene, make_detections):
    perfect = make_detections((1, 1, CAT, 0.9), (1, 2, DOG, 0.9), (1, 3, CAR, 0.9))
    assert top_shares(scene, perfect, {}).tolist() == [1, 0, 0, 0, 0]
    assert error_shares([1, 0, 0, 0, 0]).tolist() == [0, 0, 0, 0]
    assert top_shares(scene, make_detections(), {}).tolist() == [0, 0, 0, 0, 0]


def test_shares_sum_to_one_on_real_detections(voc100):
    shares = top_shares(voc100.index, voc100.detections, {"animals": ("cat", "dog", "horse", "cow", "sheep", "bird")})
    assert shares.sum() == pytest.approx(1)
    assert error_shares(shares).sum() == pytest.approx(1)
    assert (shares > 0).all()


def test_the_trend_of_two_classes_that_go_down_in_step():
    """By hand. Rank 1: Loc and nothing; 2: both err; 3: only the longer list is left, and is right; 4: it errs."""
    errors, shares = pooled_trend([[LOC, BG, CORRECT, SIM], [CORRECT, LOC]])
    assert errors.tolist() == [1, 3, 4]
    np.testing.assert_allclose(shares, [[1, 0, 0, 0], [2 / 3, 0, 0, 1 / 3], [1 / 2, 1 / 4, 0, 1 / 4]])


def test_the_trend_of_a_scene(scene, make_detections):
    """By hand. Cats: a duplicate after the right one, a dog; dogs: a car before the right one."""
    detections = make_detections(
        (1, 1, CAT, 0.9), (1, 1, CAT, 0.8), (1, 1, DOG, 0.7), (1, 2, CAR, 0.3), (1, 2, DOG, 0.2)
    )
    errors, shares = error_trend(scene, detections, PETS)
    assert errors.tolist() == [1, 2, 3]
    np.testing.assert_allclose(shares, [[0, 0, 1, 0], [1 / 2, 0, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3, 0]])


def test_the_trend_s_numbers_are_thinned_and_end():
    errors, shares = pooled_trend([[BG] * 5000])
    assert errors.tolist()[:8] == [1, 2, 3, 4, 6, 8, 12, 16]
    assert errors.tolist()[-3:] == [2048, 2897, 3200]
    assert (shares == [0, 0, 0, 1]).all()


@pytest.mark.parametrize("classes", [[], [[]], [[CORRECT], []]])
def test_no_errors_have_no_trend(classes):
    errors, shares = pooled_trend(classes)
    assert errors.shape == (0,)
    assert shares.shape == (0, 4)


def test_the_trend_sums_to_one_on_real_detections(voc100):
    errors, shares = error_trend(voc100.index, voc100.detections, {"pets": ("cat", "dog")})
    assert (np.diff(errors) > 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
