"""Faster R-CNN at test: propose and detect on one shared map.

Writes detections/faster_rcnn.json and, for detection elsewhere, models/faster_rcnn/detector.json.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.data.index import Index
from pipeline.detector import write_description
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.faster_rcnn.detector import detect
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork

MODELS = Path("models/faster_rcnn")


def main() -> None:
    p = params.load()
    index = Index.load(Path("data/index/test.json"))
    rpn = RegionProposalNetwork.load(MODELS / "rpn2.safetensors", "faster_rcnn_rpn2")
    detector = FastRcnn.load(MODELS / "detector2.safetensors", "faster_rcnn_detector2")
    device = runtime.device(p.runtime.device)
    found, least = detect(rpn, detector, index.images, Path(p.data.root), p.faster_rcnn.detect, device)
    found.save(Path("detections/faster_rcnn.json"))
    write_description(MODELS, "faster_rcnn", index.classes, {"detect": p.faster_rcnn.detect}, least)
    print(f"{len(found)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
