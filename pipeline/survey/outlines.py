"""Masks as paths of SVG, which stay sharp at any size and take the page no second picture."""

import numpy as np
from numpy.typing import NDArray


def outline(mask: NDArray[np.bool_], tolerance: float) -> str:
    """Return the data of an SVG path around the pixels of ``mask`` (H, W), in pixels; empty where it has none.

    Holes are parts of their own, so the path is filled by the rule ``evenodd``. It runs a quarter of a pixel inside the
    pixels' edges, so that single pixels and lines have an area too.

    Args:
        mask: pixels of the object.
        tolerance: how far the path may leave the outline to have fewer points, in pixels; 0: not at all.
    """
    import cv2

    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = mask[y : y + height, x : x + width].astype(np.uint8)
    # OpenCV's contours join the centres of pixels: here those of the quarters at the edge.
    parts, _ = cv2.findContours(part.repeat(2, axis=0).repeat(2, axis=1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    corners = (cv2.approxPolyDP(each, 2 * tolerance, closed=True)[:, 0] for each in parts)
    return "".join(_closed(points / 2 + (x + 0.25, y + 0.25)) for points in corners if len(points) > 2)


def _closed(points: NDArray[np.float64]) -> str:
    return f"M{' '.join(f'{x:g} {y:g}' for x, y in points.tolist())}Z"
