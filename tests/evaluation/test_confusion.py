"""The confusion matrix of scenes by hand: rows are objects, columns detections, the last of both the background."""

import numpy as np

from pipeline.core.boxes import as_boxes
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.confusion import confusion_matrix

LEFT, RIGHT, FAR = (0, 0, 20, 20), (40, 0, 60, 20), (60, 60, 90, 90)
ALL = {"a": 0.0, "b": 0.0}


def matrix(index, detections, thresholds=ALL, overlap=0.5):
    return confusion_matrix(index, detections, thresholds, overlap).tolist()


def test_each_kind_once(make_index, make_detections):
    """An a that is found, an a taken for a b, a b that is missed, a false a and a second detection of the first a."""
    index = make_index(["a", "b"], [(1, LEFT), (1, RIGHT)], [(2, LEFT)])
    detections = make_detections((1, 1, LEFT, 0.9), (1, 2, RIGHT, 0.8), (1, 1, FAR, 0.7), (1, 2, (0, 0, 20, 19), 0.6))
    assert matrix(index, detections) == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_the_better_score_chooses_first_whatever_its_class(make_index, make_detections):
    index = make_index(["a", "b"], [(1, LEFT)])
    assert matrix(index, make_detections((1, 1, LEFT, 0.5), (1, 2, LEFT, 0.6))) == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert matrix(index, make_detections((1, 1, LEFT, 0.7), (1, 2, LEFT, 0.6))) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_a_taken_object_leaves_a_second_choice(make_index, make_detections):
    index = make_index(["a", "b"], [(1, LEFT), (2, (2, 0, 22, 20))])
    assert matrix(index, make_detections((1, 1, LEFT, 0.9), (1, 1, LEFT, 0.8))) == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_each_class_counts_from_its_threshold_on(make_index, make_detections):
    index = make_index(["a", "b"], [(1, LEFT), (2, RIGHT)])
    found = make_detections((1, 1, LEFT, 0.5), (1, 2, RIGHT, 0.5))
    assert matrix(index, found, {"a": 0.5, "b": 0.51}) == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert matrix(index, found, {"a": None, "b": 0.5}) == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_difficult_objects_are_in_no_row_and_what_lies_on_them_in_no_column(make_index, make_detections):
    index = make_index(["a", "b"], [(1, LEFT, True), (1, RIGHT)])
    found = make_detections((1, 2, LEFT, 0.9), (1, 1, LEFT, 0.8), (1, 1, RIGHT, 0.7))
    assert matrix(index, found) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_a_detection_that_lies_in_a_crowd_is_in_no_column(make_detections):
    """A ninth of the crowd is in the first, all of the first in the crowd; of the second only a third is."""
    crowd = ImageRecord(1, "1.png", 100, 100, "", as_boxes([(0, 0, 60, 60)]), *map(np.array, ([1], [True], [True])))
    found = make_detections((1, 1, (0, 0, 20, 20), 0.9), (1, 2, (50, 0, 80, 20), 0.8))
    assert matrix(Index(("a", "b"), (crowd,)), found) == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_nothing_at_all(make_index, make_detections):
    assert matrix(make_index(["a", "b"], []), make_detections()) == [[0] * 3] * 3
    assert matrix(make_index(["a", "b"], [(2, LEFT)]), make_detections()) == [[0] * 3, [0, 0, 1], [0] * 3]


def test_rows_and_columns_add_up_on_real_detections(voc100):
    """Each object that counts is once in a row, and without difficult objects each detection once in a column."""
    lowest = dict.fromkeys(voc100.index.classes, 0.3)
    found = confusion_matrix(voc100.index, voc100.detections, lowest, 0.5)
    labels = np.concatenate([image.labels[~image.ignore] for image in voc100.index.images])
    assert found[:-1].sum(axis=1).tolist() == np.bincount(labels, minlength=21)[1:].tolist()
    counted = voc100.detections.labels[voc100.detections.scores >= np.float32(0.3)]
    assert (found[:, :-1].sum(axis=0) <= np.bincount(counted, minlength=21)[1:]).all()
    assert np.trace(found) > 0.5 * found[:-1].sum()
    assert found[-1, -1] == 0
