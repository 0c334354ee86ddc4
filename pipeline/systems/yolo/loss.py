"""The loss of YOLO, one function a term, and the cells responsible for the objects (sections 2 and 2.2, equation 3).

All terms are sums of squares over cells, divided by the number of images and by two: with the half their gradient is
darknet's ``scale * (target - output)``, for which the published learning rates were chosen. The paper's equation has no
half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.systems.yolo.network import Output
from pipeline.systems.yolo.params import YoloWeights

# Objects narrower or lower than this share of the image are skipped (darknet, November 2015: src/data.c).
SMALLEST = 0.01
TERMS = ("centre", "size", "object", "no_object", "class")


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
    for number, objects in enumerate(boxes):
        taken: dict[int, int] = {}
        for row, (x1, y1, x2, y2) in enumerate((objects / side).tolist()):
            if min(x2 - x1, y2 - y1) < SMALLEST:
                continue
            column, line = (min(grid - 1, int((low + high) / 2 * grid)) for low, high in ((x1, x2), (y1, y2)))
            taken.setdefault(line * grid + column, offset + row)
        images += [number] * len(taken)
        cells += taken.keys()
        rows += taken.values()
        offset += len(objects)
    device = boxes[0].device
    place = torch.tensor(rows, dtype=torch.int64, device=device)
    cell = torch.tensor(cells, dtype=torch.int64, device=device)
    return CellTargets(
        torch.tensor(images, dtype=torch.int64, device=device),
        cell,
        torch.cat(tuple(labels))[place] - 1,
        _encode(torch.cat(tuple(boxes))[place] / side, cell, grid),
    )


def lost_objects(boxes: Sequence[torch.Tensor], side: int, grid: int) -> tuple[int, int]:
    """Return how many objects share their cell with another that is trained on, and how many are too small.

    Args:
        boxes: of each image as it is, ``(n, 4)`` in pixels of a square of ``side``.
        side: of the square.
        grid: cells along each side.
    """
    trained = cell_targets(boxes, [torch.ones(len(each), dtype=torch.int64) for each in boxes], side, grid)
    sides = torch.cat(tuple(boxes))[:, 2:] - torch.cat(tuple(boxes))[:, :2]
    small = int((sides.amin(1) / side < SMALLEST).sum())
    return len(sides) - small - len(trained.cells), small


def _encode(boxes: torch.Tensor, cells: torch.Tensor, grid: int) -> torch.Tensor:
    size = boxes[:, 2:] - boxes[:, :2]
    origin = torch.stack([cells % grid, torch.div(cells, grid, rounding_mode="floor")], dim=1)
    return torch.cat([(boxes[:, :2] + size / 2) * grid - origin, size], dim=1)


def yolo_losses(output: Output, targets: CellTargets, grid: int, weights: YoloWeights) -> dict[str, torch.Tensor]:
    """Return the five `TERMS`, weighted."""
    overlaps, best = responsible(output, targets, grid)
    terms = (
        weights.box * centre_loss(output, targets, best),
        weights.box * size_loss(output, targets, best),
        weights.object * object_loss(output, targets, best, overlaps),
        weights.no_object * no_object_loss(output, targets, best),
        weights.classes * class_loss(output, targets),
    )
    return dict(zip(TERMS, terms, strict=True))


def responsible(output: Output, targets: CellTargets, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the responsible box of each object's cell: best overlap, or smallest distance where none overlaps.

    Distance is the root of the squared differences of centre and size, all as shares of the image.

    Returns:
        The overlap ``(M,)`` of the chosen box, without gradient, and its position ``(M,)`` among the cell's boxes.
    """
    with torch.no_grad():
        boxes = output.boxes[targets.images, targets.cells]  # (M, B, 4)
        centre, size = boxes[..., :2] / grid, boxes[..., 2:] ** 2
        truth_centre, truth_size = targets.boxes[:, None, :2] / grid, targets.boxes[:, None, 2:]
        low = torch.maximum(centre - size / 2, truth_centre - truth_size / 2)
        high = torch.minimum(centre + size / 2, truth_centre + truth_size / 2)
        shared = (high - low).clamp(min=0).prod(-1)
        union = size.prod(-1) + truth_size.prod(-1) - shared
        overlaps = shared / union.clamp(min=1e-12)
        distances = ((centre - truth_centre) ** 2 + (size - truth_size) ** 2).sum(-1)
        by_overlap, by_distance = overlaps.argmax(1), distances.argmin(1)
        best = torch.where(overlaps.amax(1) > 0, by_overlap, by_distance)
        return overlaps.gather(1, best[:, None]).squeeze(1), best


def centre_loss(output: Output, targets: CellTargets, best: torch.Tensor) -> torch.Tensor:
    """Return the error of ``x, y`` inside the cell, of responsible boxes."""
    boxes = output.boxes[targets.images, targets.cells, best]
    return _half_square(boxes[:, :2] - targets.boxes[:, :2], output)


def size_loss(output: Output, targets: CellTargets, best: torch.Tensor) -> torch.Tensor:
    """Return the error of the square roots of width and height, of responsible boxes."""
    boxes = output.boxes[targets.images, targets.cells, best]
    return _half_square(boxes[:, 2:] - targets.boxes[:, 2:].sqrt(), output)


def object_loss(output: Output, targets: CellTargets, best: torch.Tensor, overlaps: torch.Tensor) -> torch.Tensor:
    """Return the error of responsible boxes' confidences, which should be their overlap with the object."""
    return _half_square(output.confidences[targets.images, targets.cells, best] - overlaps, output)


def no_object_loss(output: Output, targets: CellTargets, best: torch.Tensor) -> torch.Tensor:
    """Return the error of all other confidences, which should be 0: the other boxes of an object's cell too."""
    others = torch.ones_like(output.confidences)
    others[targets.images, targets.cells, best] = 0
    return _half_square(output.confidences * others, output)


def class_loss(output: Output, targets: CellTargets) -> torch.Tensor:
    """Return the error of all class scores of cells with an object: 1 for its class, 0 for the others."""
    scores = output.classes[targets.images, targets.cells]
    return _half_square(scores - torch.nn.functional.one_hot(targets.classes, scores.shape[1]), output)


def _half_square(errors: torch.Tensor, output: Output) -> torch.Tensor:
    return (errors**2).sum() / (2 * len(output.classes))
