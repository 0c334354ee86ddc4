"""Fast R-CNN, stage 1: train end to end on whole images; writes models/fast_rcnn/network.safetensors."""

import torch

from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.nets.weights import Backbone
from pipeline.proposals.store import ProposalSet
from pipeline.stage import Stage, run
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.params import FastRcnn as FastRcnnParams
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.training import publish_curves


def main(stage: Stage) -> None:
    p, fast_rcnn = stage.params, stage.section(FastRcnnParams)
    settings = fast_rcnn.train
    indices = {split: Index.load(stage.dep(f"data/index/{split}.json")) for split in p.data.fit_splits}
    records = [image for index in indices.values() for image in index.images]
    proposals = [
        boxes
        for split, index in indices.items()
        for boxes in ProposalSet.load(stage.dep(f"proposals/{split}.h5"), index)
    ]
    classes = next(iter(indices.values())).classes

    torch.manual_seed(p.seed)
    net = fast_rcnn.backbone
    shape = FastRcnnShape.from_params(net, fast_rcnn.grid, fast_rcnn.fc_width, len(classes), fast_rcnn.image)
    network = FastRcnn(shape)
    fresh = network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{fast_rcnn.backbone}.safetensors")))
    print(f"{len(records)} images, {sum(map(len, proposals))} proposals; new layers: {', '.join(fresh)}")
    train_detector(
        network,
        records,
        proposals,
        ImageCache([stage.files / image.file for image in records], p.runtime.image_cache_mb),
        settings,
        new=fresh,
        frozen=network.early_layers(settings.frozen_layers),
        title="training Fast R-CNN",
        **stage.training,
    )
    network.save(stage.out("models/fast_rcnn/network.safetensors"))
    publish_curves(stage.scratch.folder, stage.report / "curves")
    stage.finish(settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
