"""R-CNN, stage 3: one linear SVM a class on cached features; writes models/rcnn/svm.safetensors."""

from pipeline.data.index import Index
from pipeline.features.cache import FeatureCache
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.stage import Stage, run
from pipeline.systems.rcnn.params import Rcnn


def main(stage: Stage) -> None:
    splits, maker = stage.params.data.fit_splits, "systems/rcnn/dvc.yaml:features"
    caches = [FeatureCache(stage.dep(f"features/rcnn/{split}.zarr"), f"{maker}@{split}") for split in splits]
    indices = [Index.load(stage.dep(f"data/index/{split}.json")) for split in splits]
    regions = TrainingSet(caches, indices, difficult=stage.section(Rcnn).difficult)
    model, report = train_svms(regions, stage.section(Rcnn).svm, seed=stage.params.seed, workers=stage.workers)
    model.save(stage.out("models/rcnn/svm.safetensors"))
    print(report.table(regions.classes))
    stage.finish(len(regions), "image", **report.as_json())


if __name__ == "__main__":
    run(main)
