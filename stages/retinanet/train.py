"""RetinaNet: train end to end; writes models/retinanet/network.safetensors."""

import torch

from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.retinanet.params import Retinanet as RetinanetParams
from pipeline.systems.retinanet.reach import anchor_reach
from pipeline.systems.retinanet.training import train_retinanet
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    p, section = stage.params, stage.section(RetinanetParams)
    settings = section.train
    images, held_out = images_of(stage, settings.schedule, "retinanet.train.schedule", difficult=settings.difficult)

    torch.manual_seed(p.seed)
    shape = RetinanetShape.from_params(section, len(images.classes))
    network = Retinanet(shape, settings.prior, settings.tower_std)
    network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{section.backbone}.safetensors")))
    print(
        f"{len(images.records)} images; anchors by level: {', '.join(map(str, network.by_level))}; "
        f"{summary([anchor_reach(images.records, network, settings)])}"
    )
    train_retinanet(network, images.records, images.pixels, settings, held_out, **stage.training)
    network.save(stage.out("models/retinanet/network.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
