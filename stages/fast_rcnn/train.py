"""Fast R-CNN, stage 1: train end to end on whole images; writes models/fast_rcnn/network.safetensors."""

import torch

from pipeline.core.boxes import Boxes
from pipeline.nets.weights import Backbone
from pipeline.stage import Stage, run
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.params import FastRcnn as FastRcnnParams
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.training_images import TrainingImages
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    p, fast_rcnn = stage.params, stage.section(FastRcnnParams)
    settings = fast_rcnn.train
    images, held_out = images_of(stage, settings.schedule, "fast_rcnn.train.schedule", difficult=settings.difficult)

    def proposals_of(part: TrainingImages) -> list[Boxes]:
        return part.proposals(lambda split: stage.dep(f"proposals/{split}.h5"))

    proposals = proposals_of(images)

    torch.manual_seed(p.seed)
    net = fast_rcnn.backbone
    shape = FastRcnnShape.from_params(net, fast_rcnn.grid, fast_rcnn.fc_width, len(images.classes), fast_rcnn.image)
    network = FastRcnn(shape)
    fresh = network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{fast_rcnn.backbone}.safetensors")))
    print(f"{len(images.records)} images, {sum(map(len, proposals))} proposals; new layers: {', '.join(fresh)}")
    train_detector(
        network,
        images.records,
        proposals,
        images.pixels,
        settings,
        new=fresh,
        frozen=network.early_layers(settings.frozen_layers),
        held_out=(held_out, proposals_of(held_out)) if held_out else None,
        title="training Fast R-CNN",
        **stage.training,
    )
    network.save(stage.out("models/fast_rcnn/network.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
