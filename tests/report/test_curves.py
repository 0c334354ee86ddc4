import numpy as np

from pipeline.evaluation.voc import Ranking
from pipeline.report.curves import curve_path, panels

HALF = Ranking(np.array([3, 2, 1], np.float32), np.array([True, False, True]), 4)
EMPTY = Ranking(np.zeros(0, np.float32), np.zeros(0, np.bool_), 4)
NO_OBJECTS = Ranking(np.array([1], np.float32), np.array([False]), 0)


def test_a_path_goes_right_with_recall_and_up_with_precision():
    """Recall 1/4 at precision 1, then 2/4 at 2/3: y is measured from the top."""
    assert curve_path(HALF) == "M0 0L25 0L50 33.3"
    assert curve_path(EMPTY) == ""


def test_a_panel_for_each_class_with_objects():
    ranked = {"rcnn": {"a": HALF, "b": NO_OBJECTS}, "ssd": {"a": EMPTY, "b": NO_OBJECTS}}
    [panel] = panels(("a", "b"), ranked)
    assert panel.name == "a"
    assert panel.paths == {"rcnn": curve_path(HALF), "ssd": ""}
