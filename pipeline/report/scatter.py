"""Geometry of the chart of accuracy against time: a logarithmic axis, whiskers, and labels that do not overlap."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import ceil, floor, log10

# Height and mean advance of a letter in SVG units, for the font size that the style sheet gives the labels.
LETTER_HEIGHT, LETTER_WIDTH = 13.0, 8.0
RADIUS = 6.0
_GAP = 4.0
_ROUNDS = 4


@dataclass(frozen=True)
class Mark:
    """One dot to draw.

    Attributes:
        label: the text beside it.
        seconds: for an image, above 0.
        score: 0 to 1.
        interval: of the score, or None.
        system: whose it is, which gives its colour; None for a published one, drawn in grey.
    """

    label: str
    seconds: float
    score: float
    interval: tuple[float, float] | None = None
    system: str | None = None


@dataclass(frozen=True)
class Box:
    """A rectangle in SVG units, y down; ``anchor`` says where the text of a label holds on to it."""

    left: float
    top: float
    right: float
    bottom: float
    anchor: str = "start"

    @property
    def anchor_x(self) -> float:
        """Return where the text is held."""
        return {"start": self.left, "middle": (self.left + self.right) / 2, "end": self.right}[self.anchor]

    def overlap(self, other: "Box") -> float:
        """Return the common area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)


@dataclass(frozen=True)
class Dot:
    """A mark in its place: centre, ends of the whisker (low, high) and the frame of the label."""

    mark: Mark
    x: float
    y: float
    whisker: tuple[float, float] | None
    label: Box


@dataclass(frozen=True)
class Scatter:
    """The chart: its size, the frame that holds the dots, ticks as place and text, and the dots."""

    width: float
    height: float
    frame: Box
    time_ticks: list[tuple[float, str]]
    score_ticks: list[tuple[float, str]]
    dots: list[Dot]


def scatter(marks: Sequence[Mark], width: float, height: float) -> Scatter:
    """Lay out the chart of ``marks`` (at least one): seconds to the right on a logarithmic scale, scores up.

    Args:
        marks: what to draw; the first ones choose the places of their labels first.
        width: of the whole in SVG units.
        height: likewise.
    """
    frame = Box(38, 12, width - 14, height - 40)
    low, high = _decades([mark.seconds for mark in marks])
    least = min(low_end for mark in marks for low_end in (mark.score, *(mark.interval or ())))
    bottom = max(0.0, floor(10 * least - 0.5) / 10)

    def x(seconds: float) -> float:
        return frame.left + (log10(seconds) - low) / (high - low) * (frame.right - frame.left)

    def y(score: float) -> float:
        return frame.bottom - (score - bottom) / (1 - bottom) * (frame.bottom - frame.top)

    places = [(x(mark.seconds), y(mark.score)) for mark in marks]
    whiskers = [None if mark.interval is None else (y(mark.interval[0]), y(mark.interval[1])) for mark in marks]
    boxes = _place([mark.label for mark in marks], places, whiskers, frame)
    dots = [
        Dot(mark, *place, whisker, box)
        for mark, place, whisker, box in zip(marks, places, whiskers, boxes, strict=True)
    ]
    decades = range(ceil(low - 1e-9), floor(high + 1e-9) + 1)
    tenths = range(10, round(10 * bottom) - 1, -2 if bottom < 0.6 else -1)
    return Scatter(
        width,
        height,
        frame,
        [(x(10.0**decade), _duration(decade)) for decade in decades],
        [(y(tenth / 10), str(10 * tenth)) for tenth in tenths],
        dots,
    )


def _decades(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the axis as powers of ten: a third of a decade of room around the times, a decade at least."""
    low, high = log10(min(seconds)) - 0.3, log10(max(seconds)) + 0.3
    return (low, high) if high - low >= 1 else (floor(low), ceil(high))


def _duration(decade: int) -> str:
    return f"{10**decade} s" if decade >= 0 else f"{10.0 ** (decade + 3):g} ms"


def _place(
    labels: Sequence[str],
    places: Sequence[tuple[float, float]],
    whiskers: Sequence[tuple[float, float] | None],
    frame: Box,
) -> list[Box]:
    """Return where each label goes: the nearest candidate without overlap, or the one with the least of it.

    One after the other, then some rounds in which each may move away from those that came later; of several orders the
    one that ends best. Lying on a whisker is a tenth as bad as lying on a dot, on a label or outside.
    """
    dots = [Box(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in places]
    lines = [Box(x - 3, ends[1], x + 3, ends[0]) for (x, _), ends in zip(places, whiskers, strict=True) if ends]

    def cost(box: Box, others: Sequence[Box]) -> float:
        bad = sum(map(box.overlap, others)) + sum(map(box.overlap, dots)) + _outside(box, frame)
        return round(10 * bad + sum(map(box.overlap, lines)), 3)

    def placed(order: Sequence[int]) -> tuple[float, list[Box]]:
        boxes: dict[int, Box] = {}
        costs: dict[int, float] = {}
        for turn, i in enumerate([*order] * _ROUNDS):
            if turn % len(labels) == 0 and costs and not any(costs.values()):
                break
            rated = partial(cost, others=[other for j, other in boxes.items() if j != i])
            boxes[i] = min(_candidates(*places[i], width=LETTER_WIDTH * len(labels[i])), key=rated)
            costs[i] = rated(boxes[i])
        return sum(costs.values()), [boxes[i] for i in range(len(labels))]

    given = range(len(labels))
    orders = [given, given[::-1], sorted(given, key=lambda i: places[i]), sorted(given, key=lambda i: places[i][1])]
    return min(map(placed, orders), key=lambda result: result[0])[1]


def _candidates(x: float, y: float, width: float) -> list[Box]:
    """Return places around a dot: right, left, above and below, then the same further off."""
    reach, half = RADIUS + _GAP, LETTER_HEIGHT / 2
    near = [
        Box(x + reach, y - half, x + reach + width, y + half),
        Box(x - reach - width, y - half, x - reach, y + half, "end"),
    ]
    sides = {"middle": x - width / 2, "start": x + 3, "end": x - width - 3}
    off = (
        (anchor, left, y + side * (reach + half + step * LETTER_HEIGHT))
        for step, side, (anchor, left) in product((0, 1, 2, 3), (-1, 1), sides.items())
    )
    return near + [Box(left, middle - half, left + width, middle + half, anchor) for anchor, left, middle in off]


def _outside(box: Box, frame: Box) -> float:
    """Return the area of ``box`` that lies outside ``frame``."""
    return (box.right - box.left) * (box.bottom - box.top) - box.overlap(frame)
