"""What a step of Faster R-CNN's trainings sees: the anchors drawn for the proposal network, the detector's regions."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.batch_view import Marks, Role, SeenBatches, SeenPicture, object_marks
from pipeline.core.boxes import Boxes, best_column, iou
from pipeline.core.errors import InputError
from pipeline.systems.fast_rcnn.batch_view import pixels_of, seen_objects, seen_regions
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.training import region_batches
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.params import FasterRcnn, RpnTraining
from pipeline.systems.faster_rcnn.targets import AnchorBatches, ImageAnchors
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of ``stage``: ``rpn@N`` or ``detector@N``; see `pipeline.registry.System.seen_batches`.

    In round 2 they hold no pixels: the maps of frozen convolutions are known.
    """
    section = params.section(FasterRcnn)
    name, _, number = stage.partition("@")
    schedule = (section.rpn if name == "rpn" else section.detector).schedule
    images = images.of(trained_splits(schedule, f"faster_rcnn.{name}.schedule", params.data.fit_splits))
    pixels = images.pixels if number == "1" else None
    if name == "rpn":
        shape = RpnShape.from_params(section.backbone, section.rpn_width, section.anchors, section.image)
        network, settings = RegionProposalNetwork(shape), section.rpn
        anchors = AnchorBatches(images.records, pixels, network, settings, params.seed)
        return SeenBatches(schedule.steps, anchors, lambda step: pictures(anchors, network, images, settings, step))
    folder = Path(f"proposals/faster_rcnn{number}")
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there are no proposals of the network; the stage "
            f"systems/faster_rcnn/dvc.yaml:proposals@{number} writes them."
        )
    detector = FastRcnn(
        FastRcnnShape.from_params(section.backbone, section.grid, section.fc_width, len(images.classes), section.image)
    )
    proposals = images.proposals(lambda split: folder / f"{split}.h5")
    regions = region_batches(detector, images.records, proposals, pixels, section.detector, params.seed, by_aspect=True)
    return seen_regions(regions, images, section.detector.difficult, schedule.steps)


def pictures(
    batches: AnchorBatches, network: RegionProposalNetwork, images: TrainingImages, settings: RpnTraining, step: int
) -> tuple[SeenPicture, ...]:
    """Return the images of ``step``: drawn anchors, those of objects by their side, and objects."""
    batch, grid = batches(step), ImageAnchors(network, settings)
    pixels = pixels_of(batch.views, batch.images, images)
    anchors = grid.of(grid.padded([(image.shape[1], image.shape[2]) for image in pixels]))
    image, place = np.divmod(batch.rows.numpy(), len(anchors))
    positive, sides = batch.labels.numpy() == 1, network.shape.sides
    side = place % len(network.reference) % len(sides)
    seen = []
    for number, view in enumerate(batch.views):
        here, record = image == number, images.records[view.position]
        names = [images.classes[label - 1] for label in record.labels[record.trained(settings.difficult)].tolist()]
        objects = seen_objects(record, view, settings.difficult)
        marks = (
            Marks(Role.NEGATIVE, "negative anchor", anchors[place[here & ~positive]]),
            *(
                Marks(
                    Role.POSITIVE,
                    f"positive anchor, side {each:g}",
                    anchors[place[here & positive & (side == which)]],
                    which + 1,
                )
                for which, each in enumerate(sides)
            ),
            *_objects(objects, names, anchors[place[here & positive]], settings.positive_iou),
        )
        title = images.title(view.position, view.mirrored)
        seen.append(SeenPicture(title, pixels[number].permute(1, 2, 0).numpy(), marks))
    return tuple(seen)


def _objects(boxes: Boxes, names: list[str], drawn: Boxes, threshold: float) -> tuple[Marks, ...]:
    """Return the objects ``boxes`` (G, 4) by the overlap of the anchors that were ``drawn`` (P, 4) for them."""
    overlaps = iou(drawn, boxes)
    nearest, overlap = best_column(overlaps)
    best = np.full(len(boxes), -1, np.float32)
    np.maximum.at(best, nearest, overlap)
    return object_marks(
        boxes,
        names,
        (Role.OBJECT, "object", best >= threshold),
        (Role.WEAK, f"object that no drawn anchor overlaps by {threshold:g}", (best >= 0) & (best < threshold)),
        (Role.LOST, "object of which no anchor was drawn", best < 0),
    )
