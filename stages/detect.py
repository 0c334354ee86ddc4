"""Stage ``detect``: find the objects in the test split with one system.

    python -m stages.detect rcnn

Writes detections/SYSTEM.json and, for detection elsewhere, models/SYSTEM/detector.json.
"""

import sys
from dataclasses import replace
from pathlib import Path

from pipeline import params, systems
from pipeline.core import runtime
from pipeline.data.index import Index
from pipeline.detector import detect_split


def main() -> None:
    p = params.load()
    system = systems.system(sys.argv[1])
    index = Index.load(Path("data/index/test.json"))
    detector = system.on_test_split(p, index, runtime.device(p.runtime.device))
    detections, thresholds = detect_split(detector, index, Path(p.data.root), p.runtime.workers)
    detections.save(Path(f"detections/{system.name}.json"))
    replace(detector.description, score_thresholds=thresholds).save(Path(f"models/{system.name}"))
    print(f"{len(detections)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
