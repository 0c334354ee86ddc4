"""Region proposals for one image, whichever engine makes them."""

import numpy as np
from numpy.typing import NDArray

from pipeline.boxes import Boxes, clip
from pipeline.params.proposals import Proposals
from pipeline.proposals.ranking import rank


def propose(image: NDArray[np.uint8], settings: Proposals) -> Boxes:
    """Return at most ``settings.max_per_image`` distinct boxes inside the image, ``(N, 4)``, best first.

    The same image and settings give the same bytes. Both sides of a box are at least ``settings.min_side`` pixels;
    a flat or tiny image may have no box, ``(0, 4)``.

    Args:
        image: ``(H, W, 3)`` uint8, RGB; grey content is fine.
        settings: engine, number, filter.
    """
    height, width = image.shape[:2]
    boxes = clip(_search(image, settings), width, height)
    large_enough = ((boxes[:, 2:] - boxes[:, :2]) >= max(1, settings.min_side)).all(axis=1)
    return rank(boxes[large_enough])[: settings.max_per_image]


def _search(image: NDArray[np.uint8], settings: Proposals) -> Boxes:
    """Run the engine; each is imported only where it is used (scikit-image alone takes a second)."""
    if settings.engine == "opencv":
        from pipeline.proposals import opencv

        return opencv.search(image, settings.opencv)
    from pipeline.proposals import selective_search

    return selective_search.search(image, settings.selectivesearch)
