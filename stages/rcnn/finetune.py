"""R-CNN, stage 1: fine-tune the backbone on warped regions; writes models/rcnn/network.safetensors."""

from functools import partial

import torch

from pipeline.features.regions import label_proposals
from pipeline.features.warp import warp_counts, warp_image_ids, warp_loss
from pipeline.nets.backbones import channels_last
from pipeline.nets.weights import Backbone
from pipeline.stage import Stage, run
from pipeline.systems.rcnn.finetune import FinetuneBatches
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.systems.rcnn.params import Finetune, Rcnn
from pipeline.training import Task, train
from pipeline.training_images import TrainingImages, validation_seed
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    p, rcnn = stage.params, stage.section(Rcnn)
    settings, region = rcnn.finetune, rcnn.region
    images, held_out = images_of(stage, settings.schedule, "rcnn.finetune.schedule", difficult=rcnn.difficult)

    def batches_of(part: TrainingImages, chosen: Finetune, seed: int) -> FinetuneBatches:
        proposals = part.proposals(lambda split: stage.dep(f"proposals/{split}.h5"))
        foreground, background = label_proposals(part.records, proposals, chosen, difficult=rcnn.difficult)
        print(f"{len(foreground)} foreground and {len(background)} background regions")
        return FinetuneBatches(foreground, background, part.pixels, chosen, region.size, seed)

    batches = batches_of(images, settings, p.seed)
    still = settings.model_copy(update={"flip": False})
    validation = batches_of(held_out, still, validation_seed(p.seed)) if held_out else None

    torch.manual_seed(p.seed)
    network = RegionNetwork(RegionShape(rcnn.backbone, region.size, rcnn.fc_width, len(images.classes) + 1))
    fresh = network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{rcnn.backbone}.safetensors")))
    print(f"new layers: {', '.join(fresh)}")
    channels_last(network, stage.device)
    train(
        Task(
            network,
            losses=partial(warp_loss, region=region),
            image_ids=partial(warp_image_ids, ids=[record.id for record in images.records]),
            rates={f"{name}.": settings.new_layer_lr for name in fresh},
            validation=validation,
            counts=warp_counts,
        ),
        batches,
        settings.schedule,
        title="fine-tuning on warped regions",
        **stage.training,
    )
    network.save(stage.out("models/rcnn/network.safetensors"))
    seen = settings.schedule.steps * (settings.foreground + settings.background)
    finish(stage, seen, "region")


if __name__ == "__main__":
    run(main)
