"""Fast R-CNN, stage 3: fc6 and fc7 by truncated SVD; what it saves and what it costs.

Writes models/fast_rcnn/compressed.safetensors; the score of the test split with and without it as metrics, and the time
of fc6 and fc7 for 300 regions as timing.json.
"""

import torch

from pipeline.core.storage import write_json
from pipeline.data.index import Index
from pipeline.detector import Description
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.proposals.store import ProposalSet
from pipeline.stage import Stage, run
from pipeline.systems.fast_rcnn.detector import limits_of
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.fast_rcnn.params import FastRcnn as FastRcnnParams
from pipeline.systems.fast_rcnn.svd import compress, detect_with_both, fc_seconds

REGIONS, REPEATS = 300, 15


def main(stage: Stage) -> None:
    p, settings = stage.params, stage.section(FastRcnnParams)
    index = Index.load(stage.dep("data/index/test.json"))
    proposals = ProposalSet.load(stage.dep("proposals/test.h5"), index)
    full = FastRcnn.load(stage.dep("models/fast_rcnn/detector.safetensors"), "systems/fast_rcnn/dvc.yaml:classifier")
    small = compress(full, settings.svd.fc6_rank, settings.svd.fc7_rank)
    small.save(stage.out("models/fast_rcnn/compressed.safetensors"))

    fitted = [Index.load(stage.dep(f"data/index/{split}.json")) for split in p.data.fit_splits]
    limits = limits_of(settings.detect, fitted, "fast_rcnn.detect")
    description = Description.of("fast_rcnn", index.classes, detect=settings.detect, **limits)
    found = detect_with_both(
        full, small, description, index, proposals, root=stage.files, device=stage.device, workers=stage.workers
    )
    names = ("map_voc07", "map_voc07_svd")
    scores = {name: _map(index, each, p.evaluation.iou) for name, each in zip(names, found, strict=True)}
    plain, fast = fc_seconds([full, small], REGIONS, REPEATS, stage.device)
    times = {"fc_seconds": round(plain, 6), "fc_seconds_svd": round(fast, 6)}
    write_json(stage.report / "timing.json", {"device": stage.device.type, "regions": REGIONS, **times})
    threads = torch.get_num_threads()
    print(f"{scores}; fc6 and fc7, {REGIONS} regions, {threads} threads: {plain * 1e3:.2f} ms, SVD {fast * 1e3:.2f} ms")
    stage.finish(len(index.images), "image", fc6_rank=small.shape.fc6_rank, fc7_rank=small.shape.fc7_rank, **scores)


def _map(index: Index, detections: Detections, iou: float) -> float | None:
    value = metrics(index, detections, rankings(index, detections, iou), {}, iou)["map_voc07"]
    return None if value is None else float(value)


if __name__ == "__main__":
    run(main)
