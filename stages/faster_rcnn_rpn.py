"""Faster R-CNN, stages ``faster_rcnn_rpn1`` and ``faster_rcnn_rpn2``: train the region proposal network.

    python -m stages.faster_rcnn_rpn 1

Round 1 starts from the backbone and trains all. Round 2 takes the convolutions of round 1's detector, keeps them, and
trains new proposal layers. The size of the features is taken to be the backbone's in both rounds. Writes
models/faster_rcnn/rpnROUND.safetensors.
"""

import sys
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
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.training import parse_round, train_rpn
from pipeline.training import publish_curves

BACKBONE = Path("models/backbone.safetensors")
MODELS = Path("models/faster_rcnn")


def main() -> None:
    number = parse_round(sys.argv[1:])
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings, stage = p.faster_rcnn.rpn, f"faster_rcnn_rpn{number}"
    indices = [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits]
    records = [image for index in indices for image in index.images]
    start = BACKBONE if number == 1 else MODELS / "detector1.safetensors"

    torch.manual_seed(p.seed)
    shape = RpnShape.from_params(
        p.backbone.network, p.faster_rcnn.rpn_width, p.faster_rcnn.anchors, p.faster_rcnn.image
    )
    network = RegionProposalNetwork(shape)
    network.load_backbone(Backbone.load(BACKBONE))
    if number == 1:
        frozen = network.early_layers(settings.frozen_layers)
    else:
        network.conv.load_state_dict(FastRcnn.load(start, "faster_rcnn_detector1").conv.state_dict())
        frozen = ("conv.",)
    scratch = Scratch(
        stage,
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            params=[p.seed, p.data.fit_splits, asdict(shape), settings.model_dump()],
            inputs=[fingerprint(path=Path(f"data/index/{split}.json")) for split in p.data.fit_splits],
            backbone=BACKBONE,
            start=start,
            torch=torch.__version__,
        ),
    )
    train_rpn(
        network,
        records,
        ImageCache([Path(p.data.root) / image.file for image in records], p.runtime.image_cache_mb),
        settings,
        frozen=frozen,
        scratch=scratch.folder,
        seed=p.seed,
        device=device,
        workers=runtime.loader_workers(device, p.runtime.workers),
        what=f"training proposals, round {number}",
    )
    network.save(MODELS / f"rpn{number}.safetensors")
    publish_curves(scratch.folder, Path(f"reports/plots/{stage}"))
    costs.record(
        Path(f"reports/costs/{stage}.json"), settings.schedule.steps * settings.images, "image", resumed=scratch.resumed
    )
    scratch.clear()


if __name__ == "__main__":
    runtime.run(main)
