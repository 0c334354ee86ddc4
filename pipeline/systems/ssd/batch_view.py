"""What a step of SSD's training sees: augmented squares, their objects, and the default boxes matched to these.

Which background boxes count is no part of a batch: the step chooses them by their errors (`training.hard_negatives`).
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.batch_view import Marks, Role, SeenBatches, SeenPicture, object_marks
from pipeline.core.boxes import Boxes, iou
from pipeline.systems.ssd.boxes import MapBoxes, match
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.params import Ssd as SsdParams
from pipeline.systems.ssd.training import MatchedBatches, matched_batches
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of the stage ``train``; see `pipeline.registry.System.seen_batches`."""
    ssd = params.section(SsdParams)
    images = images.of(trained_splits(ssd.train.schedule, "ssd.train.schedule", params.data.fit_splits))
    net, classes = ssd.backbone, len(images.classes)
    shape = SsdShape.from_params(net, classes, ssd.side, ssd.taps, ssd.extra, ssd.l2_scale, ssd.default_boxes)
    network = Ssd(shape)
    batches = matched_batches(network, images.records, images.pixels, ssd.train, params.seed)
    maps = network.map_boxes()
    return SeenBatches(ssd.train.schedule.steps, batches, lambda step: pictures(batches, maps, images, step))


def pictures(
    batches: MatchedBatches, maps: list[MapBoxes], images: TrainingImages, step: int
) -> tuple[SeenPicture, ...]:
    """Return the squares of ``step``: matched default boxes by the map of ``maps`` that they are on, and objects."""
    batch, squares = batches(step), batches.squares(step)
    ends = np.cumsum([each.cells**2 * each.per_cell for each in maps])
    seen = []
    for number, image_id in enumerate(batch.image_ids):
        matched = np.flatnonzero(batch.labels[number].numpy())
        boxes, labels = squares.boxes[number].numpy(), squares.labels[number].tolist()
        on = np.searchsorted(ends, matched, side="right")
        by_map = tuple(
            Marks(Role.POSITIVE, f"matched on map {place + 1}, {each.cells} x {each.cells} cells", found, place + 1)
            for place, each in enumerate(maps)
            for found in [batches.defaults[matched[on == place]]]
        )
        objects = _objects(boxes, [images.classes[label - 1] for label in labels], batches)
        pixels = batch.images[number].permute(1, 2, 0).numpy()
        seen.append(SeenPicture(images.title_of(image_id), pixels, (*by_map, *objects)))
    return tuple(seen)


def _objects(boxes: Boxes, texts: list[str], batches: MatchedBatches) -> tuple[Marks, ...]:
    """Return the objects ``boxes`` (G, 4); those that no box overlaps by the threshold have their best box alone."""
    has_box = np.isin(np.arange(len(boxes)), match(batches.defaults, boxes, batches.threshold))
    near = iou(batches.defaults, boxes).max(axis=0) >= batches.threshold
    return object_marks(
        boxes,
        texts,
        (Role.OBJECT, "object", has_box & near),
        (Role.WEAK, f"object that no default box overlaps by {batches.threshold:g}", has_box & ~near),
        (Role.LOST, "object without a default box", ~has_box),
    )
