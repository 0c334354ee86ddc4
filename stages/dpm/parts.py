"""Deformable part models, stage 3: parts, and boxes from their places; writes models/dpm/parts.safetensors."""

from pipeline.stage import Stage, run
from pipeline.systems.dpm.model import DpmModel
from pipeline.systems.dpm.params import Dpm
from pipeline.systems.dpm.training import train_parts, training_windows


def main(stage: Stage) -> None:
    section = stage.section(Dpm)
    images = training_windows(stage.dep, stage.params.data.fit_splits, section)
    roots = DpmModel.load(stage.dep("models/dpm/roots.safetensors"), "systems/dpm/dvc.yaml:roots")
    model, latent = train_parts(images, roots, section, workers=stage.workers)
    model.save(stage.out("models/dpm/parts.safetensors"))
    print(latent.table(model.names(images.classes)))
    parts = sum(len(look.parts) for look in model.looks)
    stage.finish(len(images), "image", looks=len(model.looks), parts=parts, **latent.as_json())


if __name__ == "__main__":
    run(main)
