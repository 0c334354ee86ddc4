"""The worst images and the surest errors of scenes by hand."""

import numpy as np

from pipeline.evaluation.metrics import rankings
from pipeline.evaluation.voc import Ranking
from pipeline.evaluation.worst import outranked, surest_errors, worst_images

BOX, OTHER, FAR = (0, 0, 20, 20), (40, 0, 60, 20), (60, 60, 90, 90)


def test_what_a_detection_outranks(make_detections):
    """Of class a .8, .6, .4 and .2 are correct; of class b none is."""
    scores = np.array([0.8, 0.6, 0.5, 0.4, 0.2], np.float32)
    ranked = {"a": Ranking(scores, scores != np.float32(0.5), 4), "b": Ranking(scores[:0], scores[:0] > 0, 2)}
    rows = [(1, 1, BOX, score) for score in (0.9, 0.6, 0.5, 0.1)]
    assert outranked(make_detections(*rows, (1, 2, BOX, 0.1)), ranked).tolist() == [1, 0.5, 0.5, 0, 1]


def test_the_worst_images(make_index, make_detections):
    """Image 1: one object missed, another found; 2: two errors of weight .75 and .5; 3: none; 4: one object missed."""
    index = make_index(["a"], [(1, BOX), (1, OTHER), (1, FAR, True)], [], [(1, BOX)], [(1, BOX)])
    detections = make_detections((1, 1, BOX, 0.9), (2, 1, BOX, 0.8), (2, 1, FAR, 0.7), (3, 1, BOX, 0.6))
    correct = np.array([True, False, False, True])
    weights = np.array([0, 0.75, 0.5, 0])
    assert worst_images(index, detections, correct, weights, 9) == [(2, 1.25), (1, 1.0), (4, 1.0)]
    assert worst_images(index, detections, correct, weights, 1) == [(2, 1.25)]


def test_the_surest_errors(make_detections):
    """A false positive that outranks more goes first, whatever its score; the correct one is none."""
    detections = make_detections((1, 1, BOX, 0.9), (1, 1, FAR, 0.8), (2, 2, BOX, 7), (3, 1, BOX, 0.95))
    false, weights = np.array([False, True, True, True]), np.array([1, 0.5, 0.25, 0.5])
    assert surest_errors(detections, false, weights, 9).tolist() == [3, 1, 2]
    assert surest_errors(detections, false, weights, 2).tolist() == [3, 1]


def test_on_real_detections_the_surest_outrank_most(voc100):
    weights = outranked(voc100.detections, rankings(voc100.index, voc100.detections, 0.5))
    surest = surest_errors(voc100.detections, np.ones(len(weights), np.bool_), weights, 50)
    assert (np.diff(weights[surest]) <= 0).all()
    assert weights[surest].min() >= np.delete(weights, surest).max()
