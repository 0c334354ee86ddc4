"""Fast R-CNN at test: detect in the test split; writes detections/fast_rcnn.json."""

from pathlib import Path

from pipeline import params, runtime
from pipeline.data.index import Index
from pipeline.detectors.fast_rcnn.detect import detect
from pipeline.detectors.fast_rcnn.network import FastRcnn
from pipeline.proposals.store import ProposalSet

MODELS = Path("models/fast_rcnn")


def main() -> None:
    p = params.load()
    index = Index.load(Path("data/index/test.json"))
    proposals = ProposalSet.load(Path("proposals/test.h5"), index)
    settings, device = p.fast_rcnn.detect, runtime.device(p.runtime.device)
    if settings.compressed:
        network = FastRcnn.load(MODELS / "compressed.safetensors", "fast_rcnn_svd")
    else:
        network = FastRcnn.load(MODELS / "detector.safetensors", "fast_rcnn_classifier")
    found = detect(network, index.images, list(proposals), Path(p.data.root), settings, device)
    found.save(Path("detections/fast_rcnn.json"))
    print(f"{len(found)} detections in {len(index.images)} images")


if __name__ == "__main__":
    runtime.run(main)
