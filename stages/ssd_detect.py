"""SSD at test: detect in the test split.

Writes detections/ssd.json and, for detection elsewhere, models/ssd/detector.json.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.data.index import Index
from pipeline.detector import write_description
from pipeline.systems.square import detect
from pipeline.systems.ssd.network import Ssd

MODELS = Path("models/ssd")


def main() -> None:
    p = params.load()
    index = Index.load(Path("data/index/test.json"))
    network = Ssd.load(MODELS / "network.safetensors", "ssd_train")
    found = detect(
        network,
        network.decode,
        network.shape.side,
        index.images,
        Path(p.data.root),
        p.ssd.detect,
        runtime.device(p.runtime.device),
        p.runtime.workers,
    )
    found.save(Path("detections/ssd.json"))
    write_description(MODELS, "ssd", index.classes, {"detect": p.ssd.detect}, {})
    print(f"{len(found)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
