"""SSD, stage 1: train end to end from the backbone; writes models/ssd/network.safetensors."""

from dataclasses import asdict
from pathlib import Path

import torch

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.code import code_fingerprint
from pipeline.core.storage import Scratch, fingerprint
from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.imaging import to_square
from pipeline.nets.weights import Backbone
from pipeline.systems.ssd.boxes import coverage
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.training import train_ssd
from pipeline.training import publish_curves

BACKBONE = Path("models/backbone.safetensors")
NETWORK = Path("models/ssd/network.safetensors")
CURVES = Path("reports/plots/ssd_train")
COSTS = Path("reports/costs/ssd_train.json")


def main() -> None:
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings = p.ssd.train
    indices = [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits]
    records = [image for index in indices for image in index.images]

    torch.manual_seed(p.seed)
    shape = SsdShape.from_params(
        p.backbone.network,
        len(indices[0].classes),
        p.ssd.side,
        p.ssd.taps,
        p.ssd.extra,
        p.ssd.l2_scale,
        p.ssd.default_boxes,
    )
    network = Ssd(shape)
    network.load_backbone(Backbone.load(BACKBONE))
    squares = [to_square(record.boxes, record.width, record.height, shape.side) for record in records]
    covered = coverage(network.defaults.numpy(), squares, settings.match_iou)
    print(
        f"{len(records)} images; default boxes by map: {', '.join(map(str, network.boxes_by_map()))}; they overlap "
        f"{covered:.1%} of the objects by {settings.match_iou:g} or more (ssd.default_boxes)"
    )
    scratch = Scratch(
        "ssd_train",
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            params=[p.seed, p.data.fit_splits, asdict(shape), settings.model_dump()],
            inputs=[fingerprint(path=Path(f"data/index/{split}.json")) for split in p.data.fit_splits],
            backbone=BACKBONE,
            torch=torch.__version__,
        ),
    )
    train_ssd(
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
    costs.record(COSTS, settings.schedule.steps * settings.images, "image", resumed=scratch.resumed)
    scratch.clear()


if __name__ == "__main__":
    runtime.run(main)
