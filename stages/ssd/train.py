"""SSD: train end to end; writes models/ssd/network.safetensors."""

import torch

from pipeline.data.index import Index
from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.params import Ssd as SsdParams
from pipeline.systems.ssd.reach import default_box_reach
from pipeline.systems.ssd.training import train_ssd
from pipeline.training import choice, publish_curves
from pipeline.training_images import training_images


def main(stage: Stage) -> None:
    p, ssd = stage.params, stage.section(SsdParams)
    settings = ssd.train
    images, held_out = training_images(
        settings.schedule,
        "ssd.train.schedule",
        p.data.fit_splits,
        lambda split: Index.load(stage.dep(f"data/index/{split}.json")),
        stage.files,
        p.runtime.image_cache_mb,
        difficult=settings.difficult,
    )

    torch.manual_seed(p.seed)
    net, classes = ssd.backbone, len(images.classes)
    shape = SsdShape.from_params(net, classes, ssd.side, ssd.taps, ssd.extra, ssd.l2_scale, ssd.default_boxes)
    network = Ssd(shape)
    network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{ssd.backbone}.safetensors")))
    print(
        f"{len(images.records)} images; default boxes by map: {', '.join(map(str, network.boxes_by_map()))}; "
        f"{summary([default_box_reach(images.records, network, settings)])}"
    )
    train_ssd(network, images.records, images.pixels, settings, held_out, **stage.training)
    network.save(stage.out("models/ssd/network.safetensors"))
    publish_curves(stage.scratch.folder, stage.report / "curves")
    stage.finish(settings.schedule.steps * settings.batch, "image", **choice(stage.scratch.folder))


if __name__ == "__main__":
    run(main)
