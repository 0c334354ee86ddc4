"""Stage ``evaluate@SYSTEM``: AP with its interval, error types and curves of one system, and what its stages left.

    python -m stages.evaluate rcnn

Reads data/index/test.json, detections/SYSTEM.json and reports/stages/SYSTEM. Writes below reports/:
metrics/SYSTEM.json, the full record; scores/SYSTEM.json, the figures that runs are compared by; SYSTEM.csv in errors/,
precision_recall/ and mean_precision_recall/; shown/SYSTEM.json for the gallery of the report; and, collected from the
system's stages, costs/SYSTEM.json and curves/SYSTEM/.
"""

import sys
from pathlib import Path

from pipeline import params, systems
from pipeline.core import runtime
from pipeline.core.storage import write_json
from pipeline.data.index import Index
from pipeline.evaluation.bootstrap import intervals
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import metrics, rankings, write_curves, write_error_trend, write_mean_curve
from pipeline.evaluation.shown import shown
from pipeline.evaluation.stages import copy_curves, stage_records

REPORTS = Path("reports")
COMPARED = ("map_voc07", "map_coco")


def main() -> None:
    p = params.load()
    system = systems.system(sys.argv[1])
    name = system.name
    index = Index.load(Path("data/index/test.json"))
    detections = Detections.load(Path(f"detections/{name}.json"), index, f"dvc repro systems/{name}/dvc.yaml:detect")
    iou, similar, bootstrap = p.evaluation.iou, p.evaluation.similar, p.evaluation.bootstrap
    ranked = rankings(index, detections, iou)
    figures = metrics(index, detections, ranked, similar, iou)
    figures["intervals"] = intervals(
        index, detections, iou, samples=bootstrap.samples, level=bootstrap.level, seed=p.seed
    )
    write_json(REPORTS / f"metrics/{name}.json", figures)
    write_json(REPORTS / f"scores/{name}.json", {name: {key: figures[key] for key in COMPARED}})
    write_curves(REPORTS / f"precision_recall/{name}.csv", ranked)
    write_mean_curve(REPORTS / f"mean_precision_recall/{name}.csv", ranked)
    write_error_trend(REPORTS / f"errors/{name}.csv", index, detections, similar, iou)
    gallery = shown(index, detections, ranked, p.report.images, p.report.min_score, similar, iou)
    write_json(REPORTS / f"shown/{name}.json", gallery)
    write_json(REPORTS / f"costs/{name}.json", stage_records(REPORTS / "stages" / name))
    copy_curves(REPORTS / "stages" / name, REPORTS / "curves" / name)
    for key, interval in figures["intervals"].items():
        known = interval and f"{figures[key]:.4f} ({interval['low']:.4f} to {interval['high']:.4f})"
        print(f"{system.title}: {key} {known or 'none'}")


if __name__ == "__main__":
    runtime.run(main)
