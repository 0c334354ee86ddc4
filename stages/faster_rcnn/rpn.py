"""Faster R-CNN, both rounds: train the region proposal network; writes models/faster_rcnn/rpnROUND.safetensors.

    python -m stages.faster_rcnn.rpn 1

Round 1 starts from the backbone and trains all. Round 2 takes the convolutions of round 1's detector, keeps them, and
trains new proposal layers. The size of the features is taken to be the backbone's in both rounds.
"""

import torch

from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.params import FasterRcnn
from pipeline.systems.faster_rcnn.reach import anchor_reach
from pipeline.systems.faster_rcnn.training import train_rpn
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    (number,) = stage.args
    p, faster_rcnn = stage.params, stage.section(FasterRcnn)
    settings = faster_rcnn.rpn
    images, held_out = images_of(stage, settings.schedule, "faster_rcnn.rpn.schedule", difficult=settings.difficult)

    torch.manual_seed(p.seed)
    shape = RpnShape.from_params(faster_rcnn.backbone, faster_rcnn.rpn_width, faster_rcnn.anchors, faster_rcnn.image)
    network = RegionProposalNetwork(shape)
    network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{faster_rcnn.backbone}.safetensors")))
    if number == "1":
        frozen = network.early_layers(settings.frozen_layers)
    else:
        detector = stage.dep("models/faster_rcnn/detector1.safetensors")
        network.conv.load_state_dict(
            FastRcnn.load(detector, "systems/faster_rcnn/dvc.yaml:detector@1").conv.state_dict()
        )
        frozen = ("conv.",)
    print(f"{len(images.records)} images; {summary(anchor_reach(images.records, network, settings))}")
    train_rpn(
        network,
        images.records,
        images.pixels,
        settings,
        frozen=frozen,
        held_out=held_out,
        title=f"training proposals, round {number}",
        **stage.training,
    )
    network.save(stage.out(f"models/faster_rcnn/rpn{number}.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
