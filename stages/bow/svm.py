"""Bags of words, stage 3: one linear SVM a class on the words in boxes; writes models/bow/svm.safetensors."""

from pipeline.data.index import Index
from pipeline.linear.choice import with_chosen_c
from pipeline.linear.svm import train_svms
from pipeline.stage import Stage, run
from pipeline.systems.bow.cache import WordCache
from pipeline.systems.bow.params import Bow
from pipeline.systems.bow.regions import training_set


def main(stage: Stage) -> None:
    bow, splits = stage.section(Bow), stage.params.data.fit_splits
    seed, workers = stage.params.seed, stage.workers
    indices = [Index.load(stage.dep(f"data/index/{split}.json")) for split in splits]
    caches = [
        WordCache(stage.dep(f"features/bow/{split}.zarr"), index, bow.words)
        for split, index in zip(splits, indices, strict=True)
    ]
    regions = training_set(caches, indices, bow, seed)
    settings, figures = with_chosen_c(regions, splits, bow.svm, "bow.svm.C", seed=seed, workers=workers)
    model, report = train_svms(regions, settings, seed=seed, workers=workers)
    model.save(stage.out("models/bow/svm.safetensors"))
    print(report.table(regions.classes))
    stage.finish(len(regions), "image", **report.as_json(), **figures)


if __name__ == "__main__":
    run(main)
