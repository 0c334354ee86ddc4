"""AP with its interval, errors and their costs, and curves of one system, and what its stages left behind.

    python -m stages.evaluate rcnn

Of a system that localises, ILSVRC's errors with their intervals take the place of AP, and the tables of curves and
error types have no rows; `detect` leaves word of its task.

Reads data/index/test.json, detections/SYSTEM.json and reports/stages/SYSTEM. Writes below reports/:
metrics/SYSTEM.json, the full record; scores/SYSTEM.json, the figures that runs are compared by and what machines made
them; SYSTEM.csv in errors/, precision_recall/, mean_precision_recall/ and f1/; shown/SYSTEM.json for the gallery of the
report; and, collected from the system's stages, costs/SYSTEM.json and curves/SYSTEM/. Writes too, for
`boxline predict`, models/thresholds/SYSTEM.json: the score of each class with its best F1.
"""

from pipeline.core.storage import write_json
from pipeline.data.index import Index
from pipeline.evaluation import localisation, operating
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.measures import MEASURES
from pipeline.evaluation.metrics import metrics, rankings, write_curves, write_error_trend, write_mean_curve
from pipeline.evaluation.shown import shown, write_shown
from pipeline.evaluation.stages import copy_curves, stage_records
from pipeline.stage import Stage, run

NO_DETECTIONS = Detections.join([])


def main(stage: Stage) -> None:
    (system,) = stage.args
    p, maker = stage.params, f"dvc repro systems/{system}/dvc.yaml:detect"
    index = Index.load(stage.dep("data/index/test.json"))
    detections = Detections.load(stage.dep(f"detections/{system}.json"), index, maker)
    iou, similar, bootstrap = p.evaluation.iou, p.evaluation.similar, p.evaluation.bootstrap
    left = stage.dep(f"reports/stages/{system}")
    records = stage_records(left)
    task = records.get("detect", {}).get("metrics", {}).get("task", "detect")
    measures, detects = MEASURES[task], task == "detect"
    ranked = rankings(index, detections, iou)
    if detects:
        figures = metrics(index, detections, ranked, similar, iou)
    else:
        figures = localisation.metrics(index, detections, iou)
    figures["intervals"] = measures.intervals(
        index, detections, iou, samples=bootstrap.samples, level=bootstrap.level, seed=p.seed
    )
    write_json(stage.out(f"reports/metrics/{system}.json"), figures)
    # A list: DVC's tables of metrics leave it out.
    made_on = sorted({record["machine"] for record in records.values() if "machine" in record})
    scores = {key: figures[key] for key in measures.compared}
    write_json(stage.out(f"reports/scores/{system}.json"), {system: {**scores, "made_on": made_on}})
    judged, listed = (ranked, detections) if detects else ({}, NO_DETECTIONS)
    write_curves(stage.out(f"reports/precision_recall/{system}.csv"), judged)
    write_mean_curve(stage.out(f"reports/mean_precision_recall/{system}.csv"), judged)
    write_error_trend(stage.out(f"reports/errors/{system}.csv"), index, listed, similar, iou)
    operating.write_curves(stage.out(f"reports/f1/{system}.csv"), judged)
    thresholds = operating.thresholds(ranked)
    operating.save(stage.out(f"models/thresholds/{system}.json"), system, thresholds)
    if p.report.min_score is not None:
        thresholds = dict.fromkeys(index.classes, p.report.min_score)
    gallery = shown(index, detections, ranked, thresholds, similar, iou)
    write_shown(stage.out(f"reports/shown/{system}.json"), gallery)
    write_json(stage.out(f"reports/costs/{system}.json"), records)
    copy_curves(left, stage.out(f"reports/curves/{system}"))
    for key, interval in figures["intervals"].items():
        known = interval and f"{figures[key]:.4f} ({interval['low']:.4f} to {interval['high']:.4f})"
        print(f"{system}: {key} {known or 'none'}")


if __name__ == "__main__":
    run(main)
