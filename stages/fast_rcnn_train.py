"""Fast R-CNN, stage 1: train end to end on whole images; writes models/fast_rcnn/network.safetensors."""

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
from pipeline.training import publish_curves

BACKBONE = Path("models/backbone.safetensors")
NETWORK = Path("models/fast_rcnn/network.safetensors")
CURVES = Path("reports/plots/fast_rcnn_train")
COSTS = Path("reports/costs/fast_rcnn_train.json")


def main() -> None:
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings = p.fast_rcnn.train
    indices = {split: Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits}
    records = [image for index in indices.values() for image in index.images]
    proposals = [
        boxes for split, index in indices.items() for boxes in ProposalSet.load(Path(f"proposals/{split}.h5"), index)
    ]
    classes = next(iter(indices.values())).classes

    torch.manual_seed(p.seed)
    shape = FastRcnnShape.from_params(
        p.backbone.network, p.fast_rcnn.grid, p.fast_rcnn.fc_width, len(classes), p.fast_rcnn.image
    )
    network = FastRcnn(shape)
    fresh = network.load_backbone(Backbone.load(BACKBONE))
    print(f"{len(records)} images, {sum(map(len, proposals))} proposals; new layers: {', '.join(fresh)}")
    scratch = Scratch(
        "fast_rcnn_train",
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            params=[p.seed, p.data.fit_splits, asdict(shape), settings.model_dump()],
            inputs=[
                [str(path), fingerprint(path=path)]
                for split in p.data.fit_splits
                for path in (Path(f"data/index/{split}.json"), Path(f"proposals/{split}.h5"), BACKBONE)
            ],
            torch=torch.__version__,
        ),
    )
    train_detector(
        network,
        records,
        proposals,
        ImageCache([Path(p.data.root) / image.file for image in records], p.runtime.image_cache_mb),
        settings,
        new=fresh,
        frozen=network.early_layers(settings.frozen_layers),
        scratch=scratch.folder,
        seed=p.seed,
        device=device,
        workers=runtime.loader_workers(device, p.runtime.workers),
        what="training Fast R-CNN",
    )
    network.save(NETWORK)
    publish_curves(scratch.folder, CURVES)
    costs.record(COSTS, settings.schedule.steps * settings.images, "image", resumed=scratch.resumed)
    scratch.clear()


if __name__ == "__main__":
    runtime.run(main)
