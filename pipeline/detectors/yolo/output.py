"""What the numbers of the last layer mean, and the boxes and scores that follow from them (sections 2 and 2.3).

The layout is darknet's (``src/detection_layer.c``): the class scores of all cells, then all confidences, then all
boxes; cells go row by row. The published weights have it, and each part is one contiguous slice; the paper's
``7 x 7 x 30`` only counts.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Output:
    """The parts of the last layer's output for ``N`` images, ``S`` x ``S`` cells, ``B`` boxes a cell, ``C`` classes.

    Attributes:
        classes: ``(N, S*S, C)``, scores of the classes given that the cell has an object; no softmax.
        confidences: ``(N, S*S, B)``, the overlap that each box expects to have with an object.
        boxes: ``(N, S*S, B, 4)``: centre ``x, y`` inside the cell from 0 to 1, and the square roots of width and
            height as shares of the image's.
    """

    classes: torch.Tensor
    confidences: torch.Tensor
    boxes: torch.Tensor


def split(flat: torch.Tensor, grid: int, boxes: int, classes: int) -> Output:
    """Name the parts of ``flat`` ``(N, grid * grid * (classes + 5 * boxes))``."""
    cells = grid * grid
    first, second, third = flat.split([cells * classes, cells * boxes, cells * boxes * 4], dim=1)
    return Output(
        first.unflatten(1, (cells, classes)),
        second.unflatten(1, (cells, boxes)),
        third.unflatten(1, (cells, boxes, 4)),
    )


def order_of_maps(grid: int, boxes: int, classes: int) -> torch.Tensor:
    """Return where each number of the flat output stands in a map ``(classes + 5 * boxes, grid, grid)``, flattened.

    The map's channels are those of one cell: class scores, confidences, then the boxes.
    """
    parts = torch.arange(grid * grid * (classes + 5 * boxes)).view(-1, grid * grid).split([classes, boxes, 4 * boxes])
    return torch.cat([part.T.flatten() for part in parts])


def corners(boxes: torch.Tensor, grid: int) -> torch.Tensor:
    """Return boxes ``(..., S*S, B, 4)`` of `Output` as corners ``x1 y1 x2 y2``, shares of the image; not clipped."""
    cells = torch.arange(grid * grid, device=boxes.device)
    column, row = cells % grid, torch.div(cells, grid, rounding_mode="floor")
    origin = torch.stack([column, row], dim=1)[:, None, :]  # (S*S, 1, 2)
    centre = (boxes[..., :2] + origin) / grid
    half = boxes[..., 2:] ** 2 / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def boxes_and_scores(output: Output, grid: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a test needs of the network's output (section 2, equation 1).

    Returns:
        Boxes ``(N, S*S*B, 4)``, corners in pixels of a square of ``side``, not clipped, and scores
        ``(N, S*S*B, C)``: the box's confidence times the cell's class score, both as they are.
    """
    scores = output.confidences[..., None] * output.classes[:, :, None, :]
    return corners(output.boxes, grid).flatten(1, 2) * side, scores.flatten(1, 2)
