"""OverFeat, stage 1: train trunk and classifier; writes models/overfeat/classifier.safetensors."""

import torch

from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.overfeat.network import Overfeat, OverfeatShape
from pipeline.systems.overfeat.params import Overfeat as OverfeatParams
from pipeline.systems.overfeat.reach import window_reach
from pipeline.systems.overfeat.training import train_classifier
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    p, section = stage.params, stage.section(OverfeatParams)
    settings = section.train
    images, held_out = images_of(stage, settings.schedule, "overfeat.train.schedule", difficult=settings.difficult)

    torch.manual_seed(p.seed)
    network = Overfeat(OverfeatShape.from_params(section, len(images.classes)), settings.dropout)
    network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{section.backbone}.safetensors")))
    counts = ", ".join(str(len(network.windows(side))) for side in section.scales)
    print(
        f"{len(images.records)} images; windows by scale: {counts}; "
        f"{summary([window_reach(images.records, network, settings)])}"
    )
    train_classifier(network, images.records, images.pixels, settings, held_out, **stage.training)
    network.save(stage.out("models/overfeat/classifier.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
