"""OverFeat, stage 2: train the box regressor on the fixed trunk; writes models/overfeat/network.safetensors."""

from pipeline.stage import Stage, run
from pipeline.systems.overfeat.network import Overfeat
from pipeline.systems.overfeat.params import Overfeat as OverfeatParams
from pipeline.systems.overfeat.training import train_regressor
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    section = stage.section(OverfeatParams)
    settings, difficult = section.box, section.train.difficult
    images, held_out = images_of(stage, settings.schedule, "overfeat.box.schedule", difficult=difficult)
    network = Overfeat.load(stage.dep("models/overfeat/classifier.safetensors"), "systems/overfeat/dvc.yaml:train")
    train_regressor(network, images.records, images.pixels, settings, held_out, difficult=difficult, **stage.training)
    network.save(stage.out("models/overfeat/network.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
