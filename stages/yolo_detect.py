"""YOLO v1 at test: detect in the test split; writes detections/yolo.json."""

from pathlib import Path

from pipeline import params, runtime
from pipeline.data.index import Index
from pipeline.detectors.single_shot.detect import detect
from pipeline.detectors.yolo.network import Yolo


def main() -> None:
    p = params.load()
    index = Index.load(Path("data/index/test.json"))
    network = Yolo.load(Path("models/yolo/network.safetensors"), "yolo_train")
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
    print(f"{len(found)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
