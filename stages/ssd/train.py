"""SSD: train end to end; writes models/ssd/network.safetensors."""

import torch

from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.params import Ssd as SsdParams
from pipeline.systems.ssd.reach import default_box_reach
from pipeline.systems.ssd.training import train_ssd
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    p, ssd = stage.params, stage.section(SsdParams)
    settings = ssd.train
    images, held_out = images_of(stage, settings.schedule, "ssd.train.schedule", difficult=settings.difficult)

    torch.manual_seed(p.seed)
    net, classes = ssd.backbone, len(images.classes)
    shape = SsdShape.from_params(net, classes, ssd.side, ssd.taps, ssd.extra, ssd.l2_scale, ssd.default_boxes)
    network = Ssd(shape)
    network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{ssd.backbone}.safetensors")))
    print(
        f"{len(images.records)} images; default boxes by map: {', '.join(map(str, network.boxes_by_map()))}; "
        f"{summary([default_box_reach(images.records, network, settings)])}"
    )
    train_ssd(network, images.records, images.pixels, settings, held_out, **stage.training)
    network.save(stage.out("models/ssd/network.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
