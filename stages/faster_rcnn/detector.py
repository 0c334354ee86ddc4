"""Faster R-CNN, both rounds: train Fast R-CNN on RPN proposals; writes models/faster_rcnn/detectorROUND.safetensors.

    python -m stages.faster_rcnn.detector 1

Round 1 starts from the backbone, not from the proposal network. Round 2 goes on from round 1's detector and keeps its
convolutions, which round 2's proposal network has as well.
"""

import torch

from pipeline.core.boxes import Boxes
from pipeline.nets.weights import Backbone
from pipeline.stage import Stage, run
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.systems.faster_rcnn.params import FasterRcnn
from pipeline.training_images import TrainingImages
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    (number,) = stage.args
    p, faster_rcnn = stage.params, stage.section(FasterRcnn)
    settings = faster_rcnn.detector
    images, held_out = images_of(
        stage, settings.schedule, "faster_rcnn.detector.schedule", difficult=settings.difficult
    )

    def proposals_of(part: TrainingImages) -> list[Boxes]:
        return part.proposals(lambda split: stage.dep(f"proposals/faster_rcnn{number}/{split}.h5"))

    proposals = proposals_of(images)

    torch.manual_seed(p.seed)
    net = faster_rcnn.backbone
    new: list[str] = []
    frozen: tuple[str, ...] = ("conv.",)
    if number == "1":
        classes = len(images.classes)
        shape = FastRcnnShape.from_params(net, faster_rcnn.grid, faster_rcnn.fc_width, classes, faster_rcnn.image)
        network = FastRcnn(shape)
        new = network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{faster_rcnn.backbone}.safetensors")))
        frozen = network.early_layers(settings.frozen_layers)
    else:
        start = stage.dep("models/faster_rcnn/detector1.safetensors")
        network = FastRcnn.load(start, "systems/faster_rcnn/dvc.yaml:detector@1")
    train_detector(
        network,
        images.records,
        proposals,
        images.pixels,
        settings,
        new=new,
        frozen=frozen,
        by_aspect=True,
        held_out=(held_out, proposals_of(held_out)) if held_out else None,
        title=f"training the detector, round {number}",
        **stage.training,
    )
    network.save(stage.out(f"models/faster_rcnn/detector{number}.safetensors"))
    finish(stage, settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
