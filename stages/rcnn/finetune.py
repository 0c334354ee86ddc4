"""R-CNN, stage 1: fine-tune the backbone on warped regions; writes models/rcnn/network.safetensors."""

import torch

from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.features.regions import label_proposals
from pipeline.features.warp import warp_batch
from pipeline.nets.backbones import channels_last
from pipeline.nets.weights import Backbone
from pipeline.proposals.store import ProposalSet
from pipeline.stage import Stage, run
from pipeline.systems.rcnn.finetune import FinetuneBatches
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.systems.rcnn.params import Rcnn
from pipeline.training import Task, classification_loss, publish_curves, train


def main(stage: Stage) -> None:
    p, rcnn = stage.params, stage.section(Rcnn)
    settings, region = rcnn.finetune, rcnn.region
    indices = {split: Index.load(stage.dep(f"data/index/{split}.json")) for split in p.data.fit_splits}
    images = [image for index in indices.values() for image in index.images]
    proposals = [
        boxes
        for split, index in indices.items()
        for boxes in ProposalSet.load(stage.dep(f"proposals/{split}.h5"), index)
    ]
    foreground, background = label_proposals(images, proposals, settings, difficult=rcnn.difficult)
    cache = ImageCache([stage.files / image.file for image in images], p.runtime.image_cache_mb)
    batches = FinetuneBatches(foreground, background, cache, settings, region.size, p.seed)

    torch.manual_seed(p.seed)
    classes = next(iter(indices.values())).classes
    network = RegionNetwork(RegionShape(rcnn.backbone, region.size, rcnn.fc_width, len(classes) + 1))
    fresh = network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{rcnn.backbone}.safetensors")))
    print(f"{len(foreground)} foreground and {len(background)} background regions; new layers: {', '.join(fresh)}")
    channels_last(network, stage.device)
    train(
        Task(
            network,
            losses=lambda model, batch: classification_loss(model, warp_batch(batch, region, stage.device)),
            image_ids=lambda batch: [images[position].id for position in batch.samples.images],
            rates={f"{name}.": settings.new_layer_lr for name in fresh},
        ),
        batches,
        settings.schedule,
        title="fine-tuning on warped regions",
        **stage.training,
    )
    network.save(stage.out("models/rcnn/network.safetensors"))
    publish_curves(stage.scratch.folder, stage.report / "curves")
    stage.finish(settings.schedule.steps * (settings.foreground + settings.background), "region")


if __name__ == "__main__":
    run(main)
