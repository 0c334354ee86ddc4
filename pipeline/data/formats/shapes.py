"""The smallest upright box around a shape; corners are ``(x1, y1, x2, y2)`` in the shape's unit."""

from collections.abc import Sequence

Corners = tuple[float, float, float, float]


def bounds_of_points(points: Sequence[Sequence[float]]) -> Corners:
    """Return the corners around points ``(x, y)``, of which there is at least one."""
    xs, ys = [float(point[0]) for point in points], [float(point[1]) for point in points]
    return min(xs), min(ys), max(xs), max(ys)


def bounds_of_circle(x: float, y: float, radius: float) -> Corners:
    """Return the corners around a circle."""
    return x - radius, y - radius, x + radius, y + radius


def is_number(value: object) -> bool:
    """Whether a JSON value is a number that float64 holds: JSON has integers of any length; true is none."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63)
