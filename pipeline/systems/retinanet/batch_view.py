"""What a step of RetinaNet's training sees: views of images, their objects, and the anchors that train on these.

Every other anchor is background, or trains nothing where it overlaps an object by more than `negative_iou`.
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.batch_view import Marks, Role, SeenBatches, SeenPicture, object_marks
from pipeline.core.boxes import Boxes, iou
from pipeline.systems.retinanet.anchors import match
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.retinanet.params import Retinanet as RetinanetParams
from pipeline.systems.retinanet.training import AnchorBatches, anchor_batches
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of the stage ``train``; see `pipeline.registry.System.seen_batches`."""
    section = params.section(RetinanetParams)
    images = images.of(trained_splits(section.train.schedule, "retinanet.train.schedule", params.data.fit_splits))
    network = Retinanet(RetinanetShape.from_params(section, len(images.classes)))
    batches = anchor_batches(network, images.records, images.pixels, section.train, params.seed)
    return SeenBatches(section.train.schedule.steps, batches, lambda step: pictures(batches, network, images, step))


def pictures(batches: AnchorBatches, network: Retinanet, images: TrainingImages, step: int) -> tuple[SeenPicture, ...]:
    """Return the squares of ``step``: anchors of objects by their level of ``network``, and objects."""
    batch, squares = batches(step), batches.squares(step)
    ends = np.cumsum(network.by_level)
    strides = [each.stride for each in network.geometries()]
    seen = []
    for number, image_id in enumerate(batch.image_ids):
        positive = np.flatnonzero(batch.labels[number].numpy() > 0)
        boxes, labels = squares.boxes[number].numpy(), squares.labels[number].tolist()
        level = np.searchsorted(ends, positive, side="right")
        by_level = tuple(
            Marks(
                Role.POSITIVE, f"positive anchor, stride {stride}", batches.anchors[positive[level == place]], place + 1
            )
            for place, stride in enumerate(strides)
        )
        objects = _objects(boxes, [images.classes[label - 1] for label in labels], batches)
        pixels = batch.images[number].permute(1, 2, 0).numpy()
        seen.append(SeenPicture(images.title_of(image_id), pixels, (*by_level, *objects)))
    return tuple(seen)


def _objects(boxes: Boxes, texts: list[str], batches: AnchorBatches) -> tuple[Marks, ...]:
    """Return the objects ``boxes`` (G, 4); those that no anchor overlaps by ``positive`` have their best ones alone."""
    matched, _ = match(batches.anchors, boxes, batches.positive, batches.negative)
    has_anchor = np.isin(np.arange(len(boxes)), matched)
    near = iou(batches.anchors, boxes).max(axis=0) >= batches.positive
    return object_marks(
        boxes,
        texts,
        (Role.OBJECT, "object", has_anchor & near),
        (Role.WEAK, f"object that no anchor overlaps by {batches.positive:g}", has_anchor & ~near),
        (Role.LOST, "object without an anchor", ~has_anchor),
    )
