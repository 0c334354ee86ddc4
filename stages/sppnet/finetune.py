"""SPP-net, stage 2: fine-tune the layers above the cached maps; writes models/sppnet/network.safetensors.

Windows of val are seen at the scale that they have in detection, those that train at a random one. The convolutions
that made the maps go beside it, into models/sppnet/backbone.safetensors.
"""

from functools import partial

import torch

from pipeline.features.maps import MapCache
from pipeline.features.regions import RegionSampler, RegionSamples, label_proposals
from pipeline.nets.backbones import architecture
from pipeline.nets.weights import Backbone
from pipeline.stage import Stage, run
from pipeline.systems.sppnet.finetune import JoinedMaps, PooledBatches, counts, image_ids, losses
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.sppnet.params import PyramidFinetune, Sppnet
from pipeline.training import Task, train
from pipeline.training_images import TrainingImages
from pipeline.training_stage import finish, images_of


def main(stage: Stage) -> None:
    p, sppnet = stage.params, stage.section(Sppnet)
    settings, levels, window = sppnet.finetune, sppnet.pyramid, sppnet.window
    backbone = Backbone.load(stage.dep(f"models/backbones/{sppnet.backbone}.safetensors"))
    net = architecture(backbone.network)
    images, held_out = images_of(stage, settings.schedule, "sppnet.finetune.schedule", difficult=sppnet.difficult)
    parts = {"train": images, **({"val": held_out} if held_out else {})}
    caches = {
        split: MapCache(stage.dep(f"features/sppnet/{split}.zarr"), f"systems/sppnet/dvc.yaml:maps@{split}")
        for part in parts.values()
        for split in part.splits
    }
    first = caches[images.splits[0]]
    for cache in caches.values():
        cache.check(first.fingerprint, first.path)
    batches = {
        name: PooledBatches(
            JoinedMaps([caches[split] for split in part.splits]),
            RegionSampler(*windows_of(stage, part, settings, sppnet.difficult), settings, "sppnet_finetune"),
            net,
            window,
            levels,
            seed=p.seed,
            purpose=name,
            megabytes=part.megabytes,
            random_scale=name == "train",
        )
        for name, part in parts.items()
    }

    torch.manual_seed(p.seed)
    width = net.fc[2] if net.fc else sppnet.fc_width
    shape = PyramidShape(
        net.name, first.fingerprint, net.channels, window.rule, window.side, levels, width, len(images.classes) + 1
    )
    head = PyramidHead(shape)
    fresh = head.load_backbone(backbone)
    print(f"new layers: {', '.join(fresh)}")
    head.to(stage.device)
    train(
        Task(
            head,
            losses=losses,
            image_ids=partial(image_ids, ids=[record.id for record in images.records]),
            # Only above a pre-trained fc7: the higher rate kills the units of new fc layers on vectors this wide.
            rates={"output.": settings.new_layer_lr} if fresh == ["output"] else {},
            validation=batches.get("val"),
            counts=counts,
        ),
        batches["train"],
        settings.schedule,
        title="fine-tuning on pooled windows",
        **stage.training,
    )
    steps = settings.schedule.steps
    head.save(stage.out("models/sppnet/network.safetensors"))
    backbone.convolutions().save(stage.out("models/sppnet/backbone.safetensors"))
    seen = steps * (settings.foreground + settings.background)
    finish(stage, seen, "window", steps=steps)


def windows_of(
    stage: Stage, part: TrainingImages, settings: PyramidFinetune, difficult: bool
) -> tuple[RegionSamples, RegionSamples]:
    """Return the foreground and background windows of some images."""
    proposals = part.proposals(lambda split: stage.dep(f"proposals/{split}.h5"))
    foreground, background = label_proposals(part.records, proposals, settings, difficult=difficult)
    print(f"{', '.join(part.splits)}: {len(foreground)} foreground and {len(background)} background windows")
    return foreground, background


if __name__ == "__main__":
    run(main)
