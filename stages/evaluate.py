"""Stage ``evaluate@SYSTEM``: AP, error types and precision-recall curves of one system's detections.

    python -m stages.evaluate rcnn

Reads data/index/test.json and detections/SYSTEM.json; writes reports/metrics/SYSTEM.json and
reports/plots/SYSTEM_pr.csv.
"""

import sys
from pathlib import Path

from pipeline import params, runtime
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import metrics, rankings, write_curves
from pipeline.evaluation.systems import parse_system
from pipeline.storage import write_json


def main() -> None:
    p = params.load()
    system = parse_system(sys.argv[1:])
    index = Index.load(Path("data/index/test.json"))
    path = Path(f"detections/{system.name}.json")
    detections = Detections.load(path, index, f"dvc repro {system.name}_detect")
    ranked = rankings(index, detections, p.evaluation.iou)
    figures = metrics(index, detections, ranked, p.evaluation.similar, p.evaluation.iou)
    write_json(Path(f"reports/metrics/{system.name}.json"), figures)
    write_curves(Path(f"reports/plots/{system.name}_pr.csv"), ranked)
    for name in ("map_voc07", "map_voc", "map_coco"):
        print(f"{system.title}: {name} {'none' if figures[name] is None else format(figures[name], '.4f')}")


if __name__ == "__main__":
    runtime.run(main)
