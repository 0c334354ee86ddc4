"""What a step of YOLO's training sees: augmented squares, and the cells responsible for their objects.

Which of a cell's boxes is responsible is no part of a batch: the step chooses the one that the network predicts best
(`loss.responsible`).
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.batch_view import Marks, Role, SeenBatches, SeenPicture, object_marks
from pipeline.core.boxes import Boxes
from pipeline.systems.yolo.loss import cell_targets
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.params import YoloV1
from pipeline.systems.yolo.training import CellBatches, cell_batches
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of the stage ``train``; see `pipeline.registry.System.seen_batches`."""
    yolo = params.section(YoloV1)
    images = images.of(trained_splits(yolo.train.schedule, "yolo.train.schedule", params.data.fit_splits))
    network = Yolo(YoloShape.from_params(yolo.backbone, yolo.side, yolo.boxes, len(images.classes), yolo.head))
    batches = cell_batches(network, images.records, images.pixels, yolo.train, params.seed)
    return SeenBatches(yolo.train.schedule.steps, batches, lambda step: pictures(batches, images, step))


def pictures(batches: CellBatches, images: TrainingImages, step: int) -> tuple[SeenPicture, ...]:
    """Return the squares of ``step``: the grid, cells in the colour of the class of their object, and objects."""
    batch, squares = batches(step), batches.squares(step)
    grid = _grid(batches.side, batches.grid)
    seen = []
    for number, image_id in enumerate(batch.image_ids):
        here = batch.targets.images == number
        cells, labels = batch.targets.cells[here].numpy(), batch.targets.classes[here].numpy() + 1
        marks = [Marks(Role.NEGATIVE, "cell without an object", np.delete(grid, cells, axis=0))]
        for label in np.unique(labels).tolist():
            marks.append(Marks(Role.CELL, f"cell of {images.classes[label - 1]}", grid[cells[labels == label]], label))
        boxes, names = squares.boxes[number], [images.classes[label - 1] for label in squares.labels[number].tolist()]
        # With its number for its class, each target names its object.
        numbers = torch.arange(1, len(boxes) + 1)
        found = cell_targets([boxes], [numbers], batches.side, batches.grid).classes
        trained = np.isin(np.arange(len(boxes)), found)
        objects = object_marks(
            boxes.numpy(),
            names,
            (Role.OBJECT, "object", trained),
            (Role.LOST, "object without a cell: another has it, or it is too small", ~trained),
        )
        pixels = batch.images[number].permute(1, 2, 0).numpy()
        seen.append(SeenPicture(images.title_of(image_id), pixels, (*marks, *objects)))
    return tuple(seen)


def _grid(side: int, cells: int) -> Boxes:
    """Return the cells of a square, row by row, ``(cells * cells, 4)``."""
    y, x = np.divmod(np.arange(cells**2), cells)
    return np.stack([x, y, x + 1, y + 1], axis=1).astype(np.float32) * np.float32(side / cells)
