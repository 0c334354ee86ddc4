"""YOLO v1: train end to end; writes models/yolo/network.safetensors."""

from collections.abc import Sequence

import torch

from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord, Index
from pipeline.imaging import to_square
from pipeline.nets.weights import Backbone
from pipeline.stage import Stage, run
from pipeline.systems.yolo.loss import SMALLEST, lost_objects
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.params import YoloV1
from pipeline.systems.yolo.training import train_yolo
from pipeline.training import publish_curves

# Share of lost objects above which the printed line gives advice.
MANY_LOST = 0.05


def main(stage: Stage) -> None:
    p, yolo = stage.params, stage.section(YoloV1)
    settings = yolo.train
    indices = [Index.load(stage.dep(f"data/index/{split}.json")) for split in p.data.fit_splits]
    records = [image for index in indices for image in index.images]

    torch.manual_seed(p.seed)
    classes = len(indices[0].classes)
    shape = YoloShape.from_params(yolo.backbone, yolo.side, yolo.boxes, classes, yolo.head)
    network = Yolo(shape, settings.dropout)
    network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{yolo.backbone}.safetensors")))
    print(_cells(records, network, settings.difficult))
    train_yolo(
        network,
        records,
        ImageCache([stage.files / image.file for image in records], p.runtime.image_cache_mb),
        settings,
        **stage.training,
    )
    network.save(stage.out("models/yolo/network.safetensors"))
    publish_curves(stage.scratch.folder, stage.report / "curves")
    stage.finish(settings.schedule.steps * settings.batch, "image")


def _cells(records: Sequence[ImageRecord], network: Yolo, difficult: bool) -> str:
    """Return a sentence on the grid and the objects that it cannot express, with advice where these are many."""
    side, grid = network.shape.side, network.grid
    objects = [
        torch.from_numpy(to_square(image.boxes[image.trained(difficult)], image.width, image.height, side))
        for image in records
    ]
    count = sum(map(len, objects))
    sharing, small = lost_objects(objects, side, grid)
    advice = "; a larger yolo.side or smaller strides in yolo.head.convolutions lose fewer"
    return (
        f"{len(records)} images; {grid} x {grid} cells, {network.shape.boxes} boxes each; of {count} objects {sharing} "
        f"share a cell with another and are lost, {small} have a side below {SMALLEST:.0%} of the image's"
        f"{advice if sharing + small > MANY_LOST * count else ''}"
    )


if __name__ == "__main__":
    run(main)
