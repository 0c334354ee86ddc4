"""SSD: train end to end; writes models/ssd/network.safetensors."""

import torch

from pipeline.data.images import ImageCache
from pipeline.data.index import Index
from pipeline.nets.weights import Backbone
from pipeline.reach import summary
from pipeline.stage import Stage, run
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.params import Ssd as SsdParams
from pipeline.systems.ssd.reach import default_box_reach
from pipeline.systems.ssd.training import train_ssd
from pipeline.training import publish_curves


def main(stage: Stage) -> None:
    p, ssd = stage.params, stage.section(SsdParams)
    settings = ssd.train
    indices = [Index.load(stage.dep(f"data/index/{split}.json")) for split in p.data.fit_splits]
    records = [image for index in indices for image in index.images]

    torch.manual_seed(p.seed)
    net, classes = ssd.backbone, len(indices[0].classes)
    shape = SsdShape.from_params(net, classes, ssd.side, ssd.taps, ssd.extra, ssd.l2_scale, ssd.default_boxes)
    network = Ssd(shape)
    network.load_backbone(Backbone.load(stage.dep(f"models/backbones/{ssd.backbone}.safetensors")))
    print(
        f"{len(records)} images; default boxes by map: {', '.join(map(str, network.boxes_by_map()))}; "
        f"{summary([default_box_reach(records, network, settings)])}"
    )
    train_ssd(
        network,
        records,
        ImageCache([stage.files / image.file for image in records], p.runtime.image_cache_mb),
        settings,
        **stage.training,
    )
    network.save(stage.out("models/ssd/network.safetensors"))
    publish_curves(stage.scratch.folder, stage.report / "curves")
    stage.finish(settings.schedule.steps * settings.batch, "image")


if __name__ == "__main__":
    run(main)
