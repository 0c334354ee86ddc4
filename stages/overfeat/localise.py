"""OverFeat, localisation: ILSVRC's errors of its best boxes, one for each class (section 4)."""

from pipeline.data.index import Index
from pipeline.evaluation import localisation
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.measures import MEASURES
from pipeline.stage import Stage, run
from pipeline.systems.overfeat.classification import one_a_class


def main(stage: Stage) -> None:
    index, settings = Index.load(stage.dep("data/index/test.json")), stage.params.evaluation
    written = Detections.load(stage.dep("detections/overfeat.json"), index, "systems/overfeat/dvc.yaml:detect")
    guesses = one_a_class(written)
    figures = localisation.metrics(index, guesses, settings.iou)
    figures["intervals"] = MEASURES["localise"].intervals(
        index,
        guesses,
        settings.iou,
        samples=settings.bootstrap.samples,
        level=settings.bootstrap.level,
        seed=stage.params.seed,
    )
    print(f"localisation: {figures}")
    stage.finish(len(index.images), "image", **figures)


if __name__ == "__main__":
    run(main)
