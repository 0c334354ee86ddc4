"""Confusion matrices as SVG geometry, and their largest confusions as words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

BACKGROUND = "background"
# Side of a cell in SVG units.
CELL = 10
# With more classes than this cells are too small for names and counts; these then show under the mouse.
MOST_WRITTEN = 24
# Columns of letters that a name may take beside the matrix.
LONGEST_NAME = 12


@dataclass(frozen=True)
class Cell:
    """One count of a matrix that is not 0.

    Attributes:
        x: of its left edge, in SVG units.
        y: of its upper edge, likewise.
        kind: whether the class is right, another one, or the background.
        share: of all objects of its row, or of all detections of its column where the row is the background.
        count: as it is.
        title: in words.
    """

    x: int
    y: int
    kind: Literal["right", "wrong", "nothing"]
    share: float
    count: int
    title: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix to draw.

    Attributes:
        side: of the whole, in SVG units.
        names: of rows and columns, shortened; empty where there are too many to write.
        cells: those that are not 0.
        letters: height of the counts in SVG units; 0 where there are too many to write.
        confusions: class, what it is taken for and how often, the most frequent first.
    """

    side: int
    names: list[str]
    cells: list[Cell]
    letters: float
    confusions: list[tuple[str, str, int]]


def matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], most: int = 3) -> Matrix:
    """Return a confusion matrix to draw.

    Args:
        counts: `pipeline.evaluation.confusion.confusion_matrix` as lists.
        classes: category id 1 first.
        most: how many confusions of two classes to name.
    """
    names = [*classes, BACKGROUND]
    last = len(classes)
    columns = [sum(column) for column in zip(*counts, strict=True)]
    filled = [(row, column, count) for row, line in enumerate(counts) for column, count in enumerate(line) if count]
    cells = [
        Cell(
            CELL * column,
            CELL * row,
            "nothing" if last in (row, column) else "right" if row == column else "wrong",
            count / (columns[column] if row == last else sum(counts[row])),
            count,
            _title(row, column, count, classes),
        )
        for row, column, count in filled
    ]
    written = len(classes) <= MOST_WRITTEN
    digits = len(str(max((count for _, _, count in filled), default=0)))
    confused = [(names[row], names[column], count) for row, column, count in filled if row != column < last != row]
    return Matrix(
        side=CELL * len(names),
        names=[_short(name) for name in names] if written else [],
        cells=cells,
        letters=min(5.0, 15 / digits) if written else 0,
        confusions=sorted(confused, key=lambda one: -one[2])[:most],
    )


def _title(row: int, column: int, count: int, classes: Sequence[str]) -> str:
    last = len(classes)
    if row == last:
        return f"background taken for {classes[column]}: {count}"
    if column == last:
        return f"{classes[row]} missed: {count}"
    return f"{classes[row]} {'found' if row == column else f'taken for {classes[column]}'}: {count}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
