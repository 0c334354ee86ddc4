"""R-CNN, stage 3: one linear SVM a class on cached features; writes models/rcnn/svm.safetensors."""

from pipeline.data.index import Index
from pipeline.features.cache import FeatureCache
from pipeline.linear.choice import with_chosen_c
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.stage import Stage, run
from pipeline.systems.rcnn.params import Rcnn


def main(stage: Stage) -> None:
    splits, maker = stage.params.data.fit_splits, "systems/rcnn/dvc.yaml:features"
    caches = [FeatureCache(stage.dep(f"features/rcnn/{split}.zarr"), f"{maker}@{split}") for split in splits]
    indices = [Index.load(stage.dep(f"data/index/{split}.json")) for split in splits]
    rcnn, seed, workers = stage.section(Rcnn), stage.params.seed, stage.workers
    regions = TrainingSet(caches, indices, difficult=rcnn.difficult)
    settings, figures = with_chosen_c(regions, splits, rcnn.svm, "rcnn.svm.C", seed=seed, workers=workers)
    model, report = train_svms(regions, settings, seed=seed, workers=workers)
    model.save(stage.out("models/rcnn/svm.safetensors"))
    print(report.table(regions.classes))
    stage.finish(len(regions), "image", **report.as_json(), **figures)


if __name__ == "__main__":
    run(main)
