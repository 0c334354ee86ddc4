"""Faster R-CNN, both rounds: train Fast R-CNN on RPN proposals; writes models/faster_rcnn/detectorROUND.safetensors.

    python -m stages.faster_rcnn.detector 1

Round 1 starts from the backbone, not from the proposal network. Round 2 goes on from round 1's detector and keeps its
convolutions, which round 2's proposal network has as well.
"""

import torch

from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.nets.weights import Backbone
from pipeline.proposals.store import ProposalSet
from pipeline.stage import Stage, run
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.systems.faster_rcnn.params import FasterRcnn
from pipeline.training import publish_curves


def main(stage: Stage) -> None:
    (number,) = stage.args
    p, faster_rcnn = stage.params, stage.section(FasterRcnn)
    settings = faster_rcnn.detector
    indices = {split: Index.load(stage.dep(f"data/index/{split}.json")) for split in p.data.fit_splits}
    records = [image for index in indices.values() for image in index.images]
    proposals = [
        boxes
        for split, index in indices.items()
        for boxes in ProposalSet.load(stage.dep(f"proposals/faster_rcnn{number}/{split}.h5"), index)
    ]
    classes = next(iter(indices.values())).classes

    torch.manual_seed(p.seed)
    net = faster_rcnn.backbone
    new: list[str] = []
    frozen: tuple[str, ...] = ("conv.",)
    if number == "1":
        shape = FastRcnnShape.from_params(net, faster_rcnn.grid, faster_rcnn.fc_width, len(classes), faster_rcnn.image)
        network = FastRcnn(shape)
        new = network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{faster_rcnn.backbone}.safetensors")))
        frozen = network.early_layers(settings.frozen_layers)
    else:
        start = stage.dep("models/faster_rcnn/detector1.safetensors")
        network = FastRcnn.load(start, "systems/faster_rcnn/dvc.yaml:detector@1")
    train_detector(
        network,
        records,
        proposals,
        ImageCache([stage.files / image.file for image in records], p.runtime.image_cache_mb),
        settings,
        new=new,
        frozen=frozen,
        by_aspect=True,
        title=f"training the detector, round {number}",
        **stage.training,
    )
    network.save(stage.out(f"models/faster_rcnn/detector{number}.safetensors"))
    publish_curves(stage.scratch.folder, stage.report / "curves")
    stage.finish(settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
