"""YOLO v1: train end to end; writes models/yolo/network.safetensors."""

import torch

from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.params import YoloV1
from pipeline.systems.yolo.reach import cell_reach
from pipeline.systems.yolo.training import train_yolo
from pipeline.training import publish_curves


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
    cells = cell_reach(records, shape.side, network.grid, settings.difficult)
    print(f"{len(records)} images; {shape.boxes} boxes a cell; {summary(cells)}")
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


if __name__ == "__main__":
    run(main)
