"""Deformable part models, stage 2: a root filter for each look of a class; writes models/dpm/roots.safetensors."""

from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.dpm.params import Dpm
from pipeline.systems.dpm.reach import window_reach
from pipeline.systems.dpm.training import train_roots, training_windows


def main(stage: Stage) -> None:
    section = stage.section(Dpm)
    images = training_windows(stage.dep, stage.params.data.fit_splits, section)
    print(summary([window_reach(images.indices, section)]))
    model, first, latent = train_roots(images, section, seed=stage.params.seed, workers=stage.workers)
    model.save(stage.out("models/dpm/roots.safetensors"))
    names = model.names(images.classes)
    print(f"first SVMs\n{first.table(names)}\nlatent SVMs\n{latent.table(names)}")
    stage.finish(len(images), "image", looks=len(model.looks), **latent.as_json())


if __name__ == "__main__":
    run(main)
