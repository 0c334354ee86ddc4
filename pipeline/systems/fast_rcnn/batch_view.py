"""What a step of Fast R-CNN sees: whole images and regions of each; the same for the detector of Faster R-CNN."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.batch_view import Role, SeenBatches, SeenPicture, object_marks, region_marks
from pipeline.core.boxes import Boxes, best_match
from pipeline.data.index import ImageRecord
from pipeline.imaging import mirror
from pipeline.systems.fast_rcnn.maps import View
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.params import FastRcnn as FastRcnnParams
from pipeline.systems.fast_rcnn.training import RegionBatches, region_batches
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of the stage ``train``; see `pipeline.registry.System.seen_batches`."""
    section = params.section(FastRcnnParams)
    net, classes, settings = section.backbone, len(images.classes), section.train
    images = images.of(trained_splits(settings.schedule, "fast_rcnn.train.schedule", params.data.fit_splits))
    network = FastRcnn(FastRcnnShape.from_params(net, section.grid, section.fc_width, classes, section.image))
    proposals = images.proposals(lambda split: Path(f"proposals/{split}.h5"))
    batches = region_batches(network, images.records, proposals, images.pixels, settings, params.seed)
    return seen_regions(batches, images, settings.difficult, settings.schedule.steps)


def seen_regions(batches: RegionBatches, images: TrainingImages, difficult: bool, steps: int) -> SeenBatches:
    """Return ``batches`` as they are shown; ``difficult`` objects are trained on, or not."""
    return SeenBatches(steps, batches, lambda step: pictures(batches, images, difficult, step))


def pictures(batches: RegionBatches, images: TrainingImages, difficult: bool, step: int) -> tuple[SeenPicture, ...]:
    """Return the images of ``step``: regions in the colours of their classes, background, and objects."""
    batch, drawn = batches(step), batches.drawn(step)
    seen = []
    for number, (view, regions, pixels) in enumerate(
        zip(batch.views, drawn, pixels_of(batch.views, batch.images, images), strict=True)
    ):
        record = images.records[view.position]
        used = record.trained(difficult)
        boxes, objects = regions.boxes * np.float32(view.factor), seen_objects(record, view, difficult)
        labels = batch.labels[batch.cells[:, 0] == number].numpy()
        nearest, _ = best_match(boxes[labels > 0], objects)
        drawn_for = np.isin(np.arange(len(objects)), nearest)
        marks = object_marks(
            objects,
            [images.classes[label - 1] for label in record.labels[used].tolist()],
            (Role.OBJECT, "object", drawn_for),
            (Role.LOST, "object of which no region was drawn", ~drawn_for),
        )
        title = images.title(view.position, view.mirrored)
        seen.append(
            SeenPicture(title, pixels.permute(1, 2, 0).numpy(), (*region_marks(boxes, labels, images.classes), *marks))
        )
    return tuple(seen)


def pixels_of(
    views: tuple[View, ...], pixels: tuple[torch.Tensor, ...], images: TrainingImages
) -> tuple[torch.Tensor, ...]:
    """Return the images of a batch, uint8 ``(3, h, w)``: its ``pixels``, or what it has maps of in their place."""
    return pixels or tuple(view.pixels(images.pixels) for view in views)


def seen_objects(record: ImageRecord, view: View, difficult: bool) -> Boxes:
    """Return the objects of an image that are trained on, ``(G, 4)`` in pixels of the view."""
    boxes = record.boxes[record.trained(difficult)]
    return (mirror(boxes, record.width) if view.mirrored else boxes) * np.float32(view.factor)
