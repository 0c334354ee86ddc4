"""R-CNN, stage 3: one linear SVM a class on cached features; writes models/rcnn/svm.safetensors."""

from pathlib import Path

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.storage import write_json
from pipeline.data.index import Index
from pipeline.features.cache import FeatureCache
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet


def main() -> None:
    p = params.load()
    regions = TrainingSet(
        [FeatureCache(Path(f"features/rcnn/{split}.zarr"), f"rcnn_features@{split}") for split in p.data.fit_splits],
        [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits],
    )
    workers = runtime.worker_count(p.runtime.workers)
    model, report = train_svms(regions, p.rcnn.svm, seed=p.seed, workers=workers)
    model.save(Path("models/rcnn/svm.safetensors"))
    write_json(Path("reports/metrics/rcnn_svm.json"), report.as_json())
    print(report.table(regions.classes))
    costs.record(Path("reports/costs/rcnn_svm.json"), len(regions), "image")


if __name__ == "__main__":
    runtime.run(main)
