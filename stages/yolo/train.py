"""YOLO v1: train end to end; writes models/yolo/network.safetensors."""

import torch

from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.params import YoloV1
from pipeline.systems.yolo.reach import cell_reach
from pipeline.systems.yolo.training import train_yolo
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    p, yolo = stage.params, stage.section(YoloV1)
    settings = yolo.train
    images, held_out = images_of(stage, settings.schedule, "yolo.train.schedule", difficult=settings.difficult)

    torch.manual_seed(p.seed)
    shape = YoloShape.from_params(yolo.backbone, yolo.side, yolo.boxes, len(images.classes), yolo.head)
    network = Yolo(shape, settings.dropout)
    network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{yolo.backbone}.safetensors")))
    cells = cell_reach(images.records, shape.side, network.grid, settings.difficult)
    print(f"{len(images.records)} images; {shape.boxes} boxes a cell; {summary(cells)}")
    train_yolo(network, images.records, images.pixels, settings, held_out, **stage.training)
    network.save(stage.out("models/yolo/network.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
