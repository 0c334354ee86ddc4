"""Deformable part models, stage 2: a root filter for each look of a class; writes models/dpm/roots.safetensors."""

from pipeline.data.index import Index
from pipeline.features.maps import MapCache
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.dpm.params import Dpm
from pipeline.systems.dpm.reach import window_reach
from pipeline.systems.dpm.training import train_roots, training_windows


def main(stage: Stage) -> None:
    section, splits = stage.section(Dpm), stage.params.data.fit_splits
    images = training_windows(
        [
            MapCache(stage.dep(f"features/dpm/{split}.zarr"), f"systems/dpm/dvc.yaml:pyramids@{split}")
            for split in splits
        ],
        [Index.load(stage.dep(f"data/index/{split}.json")) for split in splits],
        section,
    )
    print(summary([window_reach(images.indices, section)]))
    model, first, latent = train_roots(images, section, seed=stage.params.seed, workers=stage.workers)
    model.save(stage.out("models/dpm/roots.safetensors"))
    names = model.names(images.classes)
    print(f"first SVMs\n{first.table(names)}\nlatent SVMs\n{latent.table(names)}")
    stage.finish(len(images), "image", looks=len(model.looks), **latent.as_json())


if __name__ == "__main__":
    run(main)
