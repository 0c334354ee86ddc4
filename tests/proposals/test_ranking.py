import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.proposals.engines import rank

whole = st.integers(0, 60)
box = st.tuples(whole, whole, st.integers(1, 60), st.integers(1, 60)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def test_large_first_and_the_near_duplicate_last():
    large, almost_large, middle, small = (0, 0, 100, 100), (0, 0, 99, 100), (0, 0, 50, 50), (70, 70, 80, 80)
    ranked = rank(np.array([small, almost_large, middle, large], np.float32))
    assert ranked.tolist() == [list(map(float, b)) for b in (large, middle, small, almost_large)]


def test_far_apart_boxes_of_one_size_are_no_duplicates():
    first, second, smaller = (0, 0, 40, 40), (200, 0, 240, 40), (0, 100, 10, 110)
    assert rank(np.array([smaller, second, first], np.float32))[:2, 0].tolist() == [0, 200]


def test_no_box():
    ranked = rank(np.zeros((0, 4), np.float32))
    assert ranked.shape == (0, 4)
    assert ranked.dtype == np.float32


@given(st.lists(box, max_size=40), st.randoms())
def test_the_same_boxes_once_each_whatever_their_order(boxes, random):
    shuffled = boxes * 2
    random.shuffle(shuffled)
    ranked = rank(np.array(shuffled, np.float32).reshape(-1, 4))
    assert ranked.tobytes() == rank(np.array(boxes, np.float32).reshape(-1, 4)).tobytes()
    assert sorted(map(tuple, ranked.tolist())) == sorted(set(boxes))
