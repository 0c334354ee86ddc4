"""R-CNN, stage 3: one linear SVM a class on cached features; writes models/rcnn/svm.safetensors."""

from functools import partial
from pathlib import Path

from pipeline.core.cluster import cluster
from pipeline.linear.choice import with_chosen_c
from pipeline.linear.svm import Elsewhere, train_svms
from pipeline.stage import CODE, Stage, run
from pipeline.systems.rcnn.params import Rcnn
from pipeline.systems.rcnn.training_set import stored_training_set, training_set


def main(stage: Stage) -> None:
    rcnn, splits = stage.section(Rcnn), stage.params.data.fit_splits
    seed, workers, kept = stage.params.seed, stage.workers, stage.scratch.folder
    regions = training_set(stage.dep, splits, rcnn.difficult)
    inputs = [stage.dep(path) for path in stage.declaration.deps if not path.startswith(CODE)]
    load = partial(stored_training_set, Path.cwd(), rcnn.difficult, stage.fingerprint)
    with cluster(stage.params.runtime.cluster, workers, inputs) as executor:
        there = Elsewhere(executor, load, splits, whole=False) if executor else None
        settings, figures = with_chosen_c(
            regions, splits, rcnn.svm, "rcnn.svm.C", seed=seed, workers=workers, elsewhere=there, kept=kept
        )
        model, report = train_svms(regions, settings, seed=seed, workers=workers, elsewhere=there, kept=kept / "all")
    model.save(stage.out("models/rcnn/svm.safetensors"))
    print(report.table(regions.classes))
    stage.finish(len(regions), "image", **report.as_json(), **figures)


if __name__ == "__main__":
    run(main)
