"""Stage ``evaluate@SYSTEM``: AP with its interval, error types and curves of one system's detections.

    python -m stages.evaluate rcnn

Reads data/index/test.json and detections/SYSTEM.json; writes reports/metrics/SYSTEM.json, the full record, and
reports/scores/SYSTEM.json, the two figures that runs are compared by; reports/plots/SYSTEM_pr.csv and
reports/plots/{mean_pr,errors}/SYSTEM.csv.
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

COMPARED = ("map_voc07", "map_coco")


def main() -> None:
    p = params.load()
    system = systems.system(sys.argv[1])
    index = Index.load(Path("data/index/test.json"))
    path = Path(f"detections/{system.name}.json")
    detections = Detections.load(path, index, f"dvc repro {system.name}_detect")
    iou, similar = p.evaluation.iou, p.evaluation.similar
    ranked = rankings(index, detections, iou)
    figures = metrics(index, detections, ranked, similar, iou)
    bootstrap = p.evaluation.bootstrap
    figures["intervals"] = intervals(
        index, detections, iou, samples=bootstrap.samples, level=bootstrap.level, seed=p.seed
    )
    write_json(Path(f"reports/metrics/{system.name}.json"), figures)
    write_json(Path(f"reports/scores/{system.name}.json"), {system.name: {name: figures[name] for name in COMPARED}})
    write_curves(Path(f"reports/plots/{system.name}_pr.csv"), ranked)
    write_mean_curve(Path(f"reports/plots/mean_pr/{system.name}.csv"), ranked)
    write_error_trend(Path(f"reports/plots/errors/{system.name}.csv"), index, detections, similar, iou)
    for name, interval in figures["intervals"].items():
        known = interval and f"{figures[name]:.4f} ({interval['low']:.4f} to {interval['high']:.4f})"
        print(f"{system.title}: {name} {known or 'none'}")


if __name__ == "__main__":
    runtime.run(main)
