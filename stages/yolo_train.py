"""YOLO v1, stage 1: train end to end; writes models/yolo/network.safetensors."""

from dataclasses import asdict
from pathlib import Path

import torch

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.code import code_fingerprint
from pipeline.core.storage import Scratch, fingerprint
from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.nets.weights import Backbone
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.training import train_yolo
from pipeline.training import publish_curves

BACKBONE = Path("models/backbone.safetensors")
NETWORK = Path("models/yolo/network.safetensors")
CURVES = Path("reports/plots/yolo_train")
COSTS = Path("reports/costs/yolo_train.json")


def main() -> None:
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings = p.yolo.train
    indices = [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits]
    records = [image for index in indices for image in index.images]

    torch.manual_seed(p.seed)
    shape = YoloShape.from_params(
        p.yolo.network, p.backbone.network, p.yolo.side, p.yolo.boxes, len(indices[0].classes), p.yolo.head
    )
    network = Yolo(shape, settings.dropout)
    network.load_backbone(Backbone.load(BACKBONE))
    print(f"{len(records)} images; {network.grid} x {network.grid} cells, {shape.boxes} boxes each")
    scratch = Scratch(
        "yolo_train",
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            params=[p.seed, p.data.fit_splits, asdict(shape), settings.model_dump()],
            inputs=[fingerprint(path=Path(f"data/index/{split}.json")) for split in p.data.fit_splits],
            backbone=BACKBONE,
            torch=torch.__version__,
        ),
    )
    train_yolo(
        network,
        records,
        ImageCache([Path(p.data.root) / image.file for image in records], p.runtime.image_cache_mb),
        settings,
        scratch=scratch.folder,
        seed=p.seed,
        device=device,
        workers=runtime.loader_workers(device, p.runtime.workers),
    )
    network.save(NETWORK)
    publish_curves(scratch.folder, CURVES)
    costs.record(COSTS, settings.schedule.steps * settings.batch, "image", resumed=scratch.resumed)
    scratch.clear()


if __name__ == "__main__":
    runtime.run(main)
