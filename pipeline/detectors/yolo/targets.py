"""Which cell is responsible for which object (section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

# Objects narrower or lower than this share of the image are passed over (darknet, November 2015: src/data.c).
SMALLEST = 0.01


@dataclass(frozen=True)
class CellTargets:
    """The objects of the cells that have one, ``M`` in all images of a batch.

    Attributes:
        images: ``(M,)`` int64, position in the batch.
        cells: ``(M,)`` int64, row by row.
        classes: ``(M,)`` int64 from 0, category id less 1.
        boxes: ``(M, 4)`` float32: centre inside the cell from 0 to 1, width and height as shares of the image's.
    """

    images: torch.Tensor
    cells: torch.Tensor
    classes: torch.Tensor
    boxes: torch.Tensor


def cell_targets(boxes: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], side: int, grid: int) -> CellTargets:
    """Assign each object to the cell that holds its centre; of several in a cell the first stays, the others are lost.

    Args:
        boxes: of each image, ``(n, 4)`` in pixels of a square of ``side``, in an order that is random each time.
        labels: of each image, ``(n,)`` category ids from 1.
        side: of the square.
        grid: cells along each side.
    """
    images: list[int] = []
    cells: list[int] = []
    rows: list[int] = []
    offset = 0
    for number, own in enumerate(boxes):
        taken: dict[int, int] = {}
        for row, (x1, y1, x2, y2) in enumerate((own / side).tolist()):
            if min(x2 - x1, y2 - y1) < SMALLEST:
                continue
            column, line = (min(grid - 1, int((low + high) / 2 * grid)) for low, high in ((x1, x2), (y1, y2)))
            taken.setdefault(line * grid + column, offset + row)
        images += [number] * len(taken)
        cells += taken.keys()
        rows += taken.values()
        offset += len(own)
    device = boxes[0].device
    place = torch.tensor(rows, dtype=torch.int64, device=device)
    cell = torch.tensor(cells, dtype=torch.int64, device=device)
    return CellTargets(
        torch.tensor(images, dtype=torch.int64, device=device),
        cell,
        torch.cat(tuple(labels))[place] - 1,
        _encode(torch.cat(tuple(boxes))[place] / side, cell, grid),
    )


def _encode(boxes: torch.Tensor, cells: torch.Tensor, grid: int) -> torch.Tensor:
    size = boxes[:, 2:] - boxes[:, :2]
    origin = torch.stack([cells % grid, torch.div(cells, grid, rounding_mode="floor")], dim=1)
    return torch.cat([(boxes[:, :2] + size / 2) * grid - origin, size], dim=1)
