"""Faster R-CNN, stages ``faster_rcnn_detector1`` and ``faster_rcnn_detector2``: train Fast R-CNN on RPN proposals.

    python -m stages.faster_rcnn_detector 1

Round 1 starts from the backbone, not from the proposal network. Round 2 goes on from round 1's detector and keeps its
convolutions, which round 2's proposal network has as well. Writes models/faster_rcnn/detectorROUND.safetensors.
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
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.systems.faster_rcnn.training import parse_round
from pipeline.training import publish_curves

MODELS = Path("models/faster_rcnn")


def main() -> None:
    number = parse_round(sys.argv[1:])
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings, stage = p.faster_rcnn.detector, f"faster_rcnn_detector{number}"
    made = Path(f"proposals/faster_rcnn{number}")
    indices = {split: Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits}
    records = [image for index in indices.values() for image in index.images]
    proposals = [boxes for split, index in indices.items() for boxes in ProposalSet.load(made / f"{split}.h5", index)]
    classes = next(iter(indices.values())).classes
    start = Path("models/backbone.safetensors") if number == 1 else MODELS / "detector1.safetensors"

    torch.manual_seed(p.seed)
    if number == 1:
        shape = FastRcnnShape.from_params(
            p.backbone.network, p.faster_rcnn.grid, p.faster_rcnn.fc_width, len(classes), p.faster_rcnn.image
        )
        network = FastRcnn(shape)
        new = network.load_backbone(Backbone.load(start))
        frozen = network.early_layers(settings.frozen_layers)
    else:
        network = FastRcnn.load(start, "faster_rcnn_detector1")
        new, frozen = [], ("conv.",)
    scratch = Scratch(
        stage,
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            params=[p.seed, p.data.fit_splits, asdict(network.shape), settings.model_dump()],
            inputs=[fingerprint(path=Path(f"data/index/{split}.json")) for split in p.data.fit_splits],
            proposals=made,
            start=start,
            torch=torch.__version__,
        ),
    )
    train_detector(
        network,
        records,
        proposals,
        ImageCache([Path(p.data.root) / image.file for image in records], p.runtime.image_cache_mb),
        settings,
        new=new,
        frozen=frozen,
        scratch=scratch.folder,
        seed=p.seed,
        device=device,
        workers=runtime.loader_workers(device, p.runtime.workers),
        what=f"training the detector, round {number}",
    )
    network.save(MODELS / f"detector{number}.safetensors")
    publish_curves(scratch.folder, Path(f"reports/plots/{stage}"))
    costs.record(
        Path(f"reports/costs/{stage}.json"), settings.schedule.steps * settings.images, "image", resumed=scratch.resumed
    )
    scratch.clear()


if __name__ == "__main__":
    runtime.run(main)
