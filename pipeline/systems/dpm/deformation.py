"""What it costs a part to move away from its anchor, and the best place for it (PAMI 2010, sections 3.1 and 4).

The cost of a displacement ``d``, the anchor minus the place, in cells of the part's level, is
``ax dx^2 + bx dx + ay dy^2 + by dy``. Costs are arrays ``(ax, bx, ay, by)``.
"""

import numpy as np
from numpy.typing import NDArray


def distance_transform(responses: NDArray[np.float32], costs: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return what each part brings at best where its anchor is at each place, ``(P, rows, columns)``.

    The generalised distance transform ``D(p) = max_q R(q) - cost(p - q)``, bounded to ``reach`` cells along each axis,
    as in the released detector (``bounded_dt.cc``, there 4). A reach of the grid's longer side is the unbounded one.

    Args:
        responses: ``(P, rows, columns)``, of one filter each.
        costs: ``(P, 4)``.
        reach: cells by which a part moves at most.
    """
    ax, bx, ay, by = costs.T[..., None, None]
    along_x = _along_last(responses, ax, bx, reach)
    return _along_last(along_x.swapaxes(1, 2), ay, by, reach).swapaxes(1, 2)


def _along_last(
    values: NDArray[np.float32], a: NDArray[np.float32], b: NDArray[np.float32], reach: int
) -> NDArray[np.float32]:
    best = values.copy()
    for step in range(1, min(reach, values.shape[2] - 1) + 1):
        ahead, behind = best[..., step:], best[..., :-step]
        np.maximum(ahead, values[..., :-step] - (a * step**2 + b * step), out=ahead)
        np.maximum(behind, values[..., step:] - (a * step**2 - b * step), out=behind)
    return best


def best_moves(
    responses: NDArray[np.float32], anchors: NDArray[np.int64], costs: NDArray[np.float32], reach: int
) -> NDArray[np.int64]:
    """Return by how many rows and columns each part moves from its anchors to its best place, ``(P, N, 2)``.

    Args:
        responses: ``(P, rows, columns)``, of one filter each; there are ``reach`` cells around each anchor.
        anchors: ``(P, N, 2)``, rows and columns.
        costs: ``(P, 4)``.
        reach: see `distance_transform`. Of equally good places the first, row by row, counts.
    """
    moves = np.arange(-reach, reach + 1)
    parts = np.arange(len(responses))[:, None, None, None]
    y, x = anchors[..., 0, None, None] + moves[:, None], anchors[..., 1, None, None] + moves
    ax, bx, ay, by = costs.T[..., None, None, None]
    cost = (ay * moves**2 - by * moves)[..., None] + (ax * moves**2 - bx * moves)[..., None, :]
    values = responses[parts, y, x] - cost.reshape(len(responses), 1, len(moves), len(moves))
    best = values.reshape(*anchors.shape[:2], len(moves) ** 2).argmax(axis=2)
    return np.stack(np.divmod(best, len(moves)), axis=2) - reach


def deformation_features(moves: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return for each of ``moves`` ``(..., 2)``, rows and columns, what costs weigh to its score, ``(..., 4)``."""
    dy, dx = -moves[..., 0], -moves[..., 1]
    return -np.stack([dx**2, dx, dy**2, dy], axis=-1).astype(np.float32)
