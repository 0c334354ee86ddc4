"""Cells, names and largest confusions of made-up matrices."""

import pytest

from pipeline.report.matrix import MOST_WRITTEN, matrix


def test_cells():
    """Of four cats two are found and one is taken for a dog; of three detections of dogs one lies on the background."""
    drawn = matrix([[2, 1, 1], [0, 1, 0], [0, 1, 0]], ["cat", "dog"])
    cells = [(cell.title, cell.kind, cell.x, cell.y, cell.share) for cell in drawn.cells]
    assert cells == [
        ("cat found: 2", "right", 0, 0, 0.5),
        ("cat taken for dog: 1", "wrong", 10, 0, 0.25),
        ("cat missed: 1", "nothing", 20, 0, 0.25),
        ("dog found: 1", "right", 10, 10, 1.0),
        ("background taken for dog: 1", "nothing", 10, 20, pytest.approx(1 / 3)),
    ]
    assert drawn.names == ["cat", "dog", "background"]
    assert drawn.side == 30


def test_the_most_frequent_confusions_first():
    counts = [[9, 1, 2, 50], [4, 9, 0, 0], [0, 3, 9, 0], [70, 0, 0, 0]]
    assert matrix(counts, ["a", "b", "c"], most=3).confusions == [("b", "a", 4), ("c", "b", 3), ("a", "c", 2)]


def test_large_counts_get_small_letters_and_long_names_an_ellipsis():
    drawn = matrix([[12345, 0], [0, 0]], ["a very long name of a class"])
    assert drawn.letters * 5 <= 15
    assert drawn.names == ["a very long\N{HORIZONTAL ELLIPSIS}", "background"]


def test_many_classes_are_drawn_without_letters():
    count = MOST_WRITTEN + 1
    identity = [[int(row == column < count) for column in range(count + 1)] for row in range(count + 1)]
    drawn = matrix(identity, [str(label) for label in range(count)])
    assert (drawn.names, drawn.letters, len(drawn.cells)) == ([], 0, count)


def test_a_matrix_without_counts():
    drawn = matrix([[0, 0], [0, 0]], ["a"])
    assert (drawn.cells, drawn.confusions) == ([], [])
