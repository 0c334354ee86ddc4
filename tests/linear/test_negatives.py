"""Negatives while they are mined, against plain lists."""

import numpy as np

from pipeline.linear.negatives import Negatives


def places(*pairs: tuple[int, ...]) -> np.ndarray:
    return np.array(pairs, np.int64)


def test_none_is_held_twice_and_a_dropped_one_may_come_back() -> None:
    negatives = Negatives.none(0, 2)
    assert negatives.held((0, 1)).shape == (0, 2)
    negatives.add(np.ones((2, 3), np.float16), (0, 1), places((4, 0), (5, 1)))
    negatives.add(np.ones((1, 3), np.float16), (1, 1), places((4, 0)))
    assert negatives.fresh == 3
    assert negatives.held((0, 1)).tolist() == [[4, 0], [5, 1]]
    negatives.join()
    assert negatives.fresh == 0
    assert negatives.held((0, 1)).tolist() == [[4, 0], [5, 1]]
    assert negatives.held((1, 1)).tolist() == [[4, 0]]
    negatives.drop(np.array([0.0, -2.0, 0.0]), below=-1, most=9)
    assert negatives.held((0, 1)).tolist() == [[4, 0]]


def test_a_place_is_known_in_its_own_image_alone() -> None:
    rng = np.random.default_rng(1)
    held, asked = rng.integers(0, 3, (40, 3)), rng.integers(0, 3, (60, 3))
    negatives = Negatives.none(0, 3)
    negatives.add(np.ones((20, 1), np.float16), (0, 1), held[:20])
    negatives.join()
    negatives.add(np.ones((20, 1), np.float16), (0, 1), held[20:])
    expected = [place not in held.tolist() for place in asked.tolist()]
    assert len(set(expected)) == 2
    assert negatives.unknown((0, 1), asked).tolist() == expected
    assert negatives.unknown((0, 2), asked).all()


def test_the_best_are_kept_in_their_order() -> None:
    rng = np.random.default_rng(0)
    negatives, rows = Negatives.none(4, 1), []
    for image in range(5):
        features = rng.random((3, 4)).astype(np.float16)
        negatives.add(features, (0, image), places((7,), (8,), (9,)))
        rows += [(value.tolist(), [0, image, row]) for value, row in zip(features, (7, 8, 9), strict=True)]
    negatives.join()
    scores = rng.permutation(len(rows)) / 10
    negatives.drop(scores, below=0.3, most=6)
    best = sorted(scores)[-6]
    kept = [row for row, score in zip(rows, scores, strict=True) if score >= best]
    assert list(zip(negatives.features.tolist(), negatives.keys.tolist(), strict=True)) == kept
    negatives.drop(np.arange(6), below=9, most=6)
    assert (negatives.features.shape, negatives.keys.shape) == ((0, 4), (0, 3))
    negatives.join()
    assert len(negatives.keys) == 0
