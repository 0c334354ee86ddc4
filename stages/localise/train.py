"""Localisation, stage 1: train trunk and classifier, or the whole network; writes
models/localise/classifier.safetensors.
"""

import torch

from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.localise.network import Localiser, LocaliseShape
from pipeline.systems.localise.params import Localise as LocaliseParams
from pipeline.systems.localise.reach import main_reach
from pipeline.systems.localise.training import train_classifier
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    p, section = stage.params, stage.section(LocaliseParams)
    settings = section.train
    images, held_out = images_of(stage, settings.schedule, "localise.train.schedule", difficult=settings.difficult)
    empty = sum(not record.trained(settings.difficult).any() for record in images.records)

    torch.manual_seed(p.seed)
    network = Localiser(LocaliseShape.from_params(section, len(images.classes)), settings.dropout)
    new = network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{section.backbone}.safetensors")))
    shares = summary([main_reach(images.records, difficult=settings.difficult)])
    print(f"{len(images.records)} images, {empty} of them without an object; {shares}")
    train_classifier(
        network, images.records, images.pixels, settings, held_out, new=new, together=section.together, **stage.training
    )
    network.save(stage.out("models/localise/classifier.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image", images_without_object=empty)


if __name__ == "__main__":
    run(main)
