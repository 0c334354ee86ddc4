"""Fast R-CNN, stage 3: fc6 and fc7 by truncated SVD; what it saves and what it costs.

Writes models/fast_rcnn/compressed.safetensors, reports/metrics/fast_rcnn_svd.json (score of the test split with and
without) and reports/timing/fast_rcnn_svd.json (time of fc6 and fc7 for 300 regions).
"""

from pathlib import Path

import torch

from pipeline import params
from pipeline.core import runtime
from pipeline.core.storage import write_json
from pipeline.data.index import Index
from pipeline.detector import Description, detect_split
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.detector import FastRcnnDetector
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.fast_rcnn.svd import compress, fc_seconds

MODELS = Path("models/fast_rcnn")
REGIONS, REPEATS = 300, 15


def main() -> None:
    p = params.load()
    device = runtime.device(p.runtime.device)
    index = Index.load(Path("data/index/test.json"))
    proposals = ProposalSet.load(Path("proposals/test.h5"), index)
    full = FastRcnn.load(MODELS / "detector.safetensors", "fast_rcnn_classifier")
    small = compress(full, p.fast_rcnn.svd.fc6, p.fast_rcnn.svd.fc7)
    small.save(MODELS / "compressed.safetensors")

    description = Description.of("fast_rcnn", index.classes, detect=p.fast_rcnn.detect)

    def score(network: FastRcnn) -> float | None:
        detector = FastRcnnDetector(description, network, device, proposals)
        found, _ = detect_split(detector, index, Path(p.data.root), p.runtime.workers)
        return _map(index, found, p.evaluation.iou)

    scores = {"map_voc07": score(full), "map_voc07_svd": score(small)}
    threads = torch.get_num_threads()
    plain, fast = fc_seconds([full, small], REGIONS, REPEATS, device)
    write_json(
        Path("reports/metrics/fast_rcnn_svd.json"),
        {"fc6_rank": small.shape.fc6_rank, "fc7_rank": small.shape.fc7_rank, **scores},
    )
    times = {"device": device.type, "regions": REGIONS, "fc_seconds": round(plain, 6), "fc_seconds_svd": round(fast, 6)}
    write_json(Path("reports/timing/fast_rcnn_svd.json"), times)
    print(f"{scores}; fc6 and fc7, {REGIONS} regions, {threads} threads: {plain * 1e3:.2f} ms, SVD {fast * 1e3:.2f} ms")


def _map(index: Index, found: Detections, iou: float) -> float | None:
    value = metrics(index, found, rankings(index, found, iou), {}, iou)["map_voc07"]
    return None if value is None else float(value)


if __name__ == "__main__":
    runtime.run(main)
