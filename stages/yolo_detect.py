"""YOLO v1 at test: detect in the test split.

Writes detections/yolo.json and, for detection elsewhere, models/yolo/detector.json.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.data.index import Index
from pipeline.detector import write_description
from pipeline.systems.square import detect
from pipeline.systems.yolo.network import Yolo

MODELS = Path("models/yolo")


def main() -> None:
    p = params.load()
    index = Index.load(Path("data/index/test.json"))
    network = Yolo.load(MODELS / "network.safetensors", "yolo_train")
    found = detect(
        network,
        network.decode,
        network.shape.side,
        index.images,
        Path(p.data.root),
        p.yolo.detect,
        runtime.device(p.runtime.device),
        p.runtime.workers,
    )
    found.save(Path("detections/yolo.json"))
    write_description(MODELS, "yolo", index.classes, {"detect": p.yolo.detect}, {})
    print(f"{len(found)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
