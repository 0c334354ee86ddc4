"""Find the objects in the test split with one system; writes detections/SYSTEM.json.

    python -m stages.detect rcnn

Writes also models/SYSTEM/detector.json, for detection elsewhere, and among its figures the task of the system where
that is another than detection, by which `evaluate` chooses its measures.
"""

from dataclasses import replace

from pipeline import registry
from pipeline.data.index import Index
from pipeline.detector import detect_split
from pipeline.stage import Stage, run


def main(stage: Stage) -> None:
    (system,) = stage.args
    index = Index.load(stage.dep("data/index/test.json"))
    room = registry.system(system)
    detector = room.on_test_split(stage.params, index, stage.device)
    detections, thresholds = detect_split(detector, index, stage.files, stage.workers)
    detections.save(stage.out(f"detections/{system}.json"))
    replace(detector.description, score_thresholds=thresholds).save(stage.out(f"models/{system}/detector.json").parent)
    print(f"{len(detections)} detections in {len(index.images)} images")
    task = {} if room.task == "detect" else {"task": room.task}
    stage.finish(len(index.images), "image", **task, **detector.figures())


if __name__ == "__main__":
    run(main)
