"""Localisation, stage 2: train the box head on the fixed trunk; writes models/localise/network.safetensors.

A network whose heads were trained together stays as it is.
"""

from pipeline.stage import Stage, run
from pipeline.systems.localise.network import Localiser
from pipeline.systems.localise.params import Localise as LocaliseParams
from pipeline.systems.localise.training import train_boxes
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    section = stage.section(LocaliseParams)
    settings, difficult = section.box, section.train.difficult
    images, held_out = images_of(stage, settings.schedule, "localise.box.schedule", difficult=difficult)
    network = Localiser.load(stage.dep("models/localise/classifier.safetensors"), "systems/localise/dvc.yaml:train")
    if not section.together:
        train_boxes(network, images.records, images.pixels, settings, held_out, difficult=difficult, **stage.training)
    network.save(stage.out("models/localise/network.safetensors"))
    finish(stage, 0 if section.together else settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
