"""Fast R-CNN at test: detect in the test split.

Writes detections/fast_rcnn.json and, for detection elsewhere, models/fast_rcnn/detector.json.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.data.index import Index
from pipeline.detector import write_description
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.detector import detect, load_network

MODELS = Path("models/fast_rcnn")


def main() -> None:
    p = params.load()
    index = Index.load(Path("data/index/test.json"))
    proposals = ProposalSet.load(Path("proposals/test.h5"), index)
    settings, device = p.fast_rcnn.detect, runtime.device(p.runtime.device)
    network = load_network(MODELS, settings.compressed)
    found, least = detect(network, index.images, list(proposals), Path(p.data.root), settings, device)
    found.save(Path("detections/fast_rcnn.json"))
    write_description(MODELS, "fast_rcnn", index.classes, {"proposals": p.proposals, "detect": settings}, least)
    print(f"{len(found)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
