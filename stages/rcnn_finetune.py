"""R-CNN, stage 1: fine-tune the backbone on warped regions; writes models/rcnn/network.safetensors."""

from pathlib import Path

import torch

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.code import code_fingerprint
from pipeline.core.storage import Scratch, fingerprint
from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.features.regions import label_proposals
from pipeline.features.warp import warp_batch
from pipeline.nets.weights import Backbone
from pipeline.proposals.store import ProposalSet
from pipeline.systems.rcnn.finetune import FinetuneBatches
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.training import StepBatches, Task, classification_loss, publish_curves, train

BACKBONE = Path("models/backbone.safetensors")
NETWORK = Path("models/rcnn/network.safetensors")
CURVES = Path("reports/plots/rcnn_finetune")
COSTS = Path("reports/costs/rcnn_finetune.json")


def main() -> None:
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings, region = p.rcnn.finetune, p.rcnn.region
    indices = [Index.load(Path(f"data/index/{split}.json")) for split in p.data.fit_splits]
    images = [image for index in indices for image in index.images]
    proposals = [
        boxes
        for split, index in zip(p.data.fit_splits, indices, strict=True)
        for boxes in ProposalSet.load(Path(f"proposals/{split}.h5"), index)
    ]
    foreground, background = label_proposals(images, proposals, settings)
    cache = ImageCache([Path(p.data.root) / image.file for image in images], p.runtime.image_cache_mb)
    batches = FinetuneBatches(foreground, background, cache, settings, region.size, p.seed)

    torch.manual_seed(p.seed)
    shape = RegionShape(p.backbone.network, region.size, p.rcnn.fc_width, len(indices[0].classes) + 1)
    network = RegionNetwork(shape)
    fresh = network.load_backbone(Backbone.load(BACKBONE))
    print(f"{len(foreground)} foreground and {len(background)} background windows; new layers: {', '.join(fresh)}")
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scratch = Scratch(
        "rcnn_finetune",
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            params=[p.seed, p.data.fit_splits, region.model_dump(), settings.model_dump(), p.rcnn.fc_width],
            inputs=[[str(path), fingerprint(path=path)] for path in (Path("data/index"), Path("proposals"), BACKBONE)],
            torch=torch.__version__,
        ),
    )
    train(
        Task(
            network,
            losses=classification_loss(network),
            prepare=lambda batch, target: warp_batch(batch, region, target),
            images=lambda batch: [images[position].id for position in batch.images],
            fast=tuple(f"{name}." for name in fresh),
            fast_factor=settings.new_layer_lr,
        ),
        StepBatches(batches, settings.schedule.steps),
        settings.schedule,
        scratch=scratch.folder,
        seed=p.seed,
        device=device,
        workers=runtime.loader_workers(device, p.runtime.workers),
        what="fine-tuning on warped regions",
    )
    network.save(NETWORK)
    publish_curves(scratch.folder, CURVES)
    costs.record(
        COSTS, settings.schedule.steps * (settings.foreground + settings.background), "window", resumed=scratch.resumed
    )
    scratch.clear()


if __name__ == "__main__":
    runtime.run(main)
