"""SPP-net, stage 2: fine-tune the layers above the cached maps; writes models/sppnet/network.safetensors.

Trained on the windows of train, and the snapshot is chosen by its loss on windows of val, never of test. Without
validation: on the windows of all data.fit_splits, and the last snapshot is kept. The convolutions that made the maps go
beside it, into models/sppnet/backbone.safetensors.
"""

from collections.abc import Sequence

import torch

from pipeline.core.params import Split
from pipeline.data.index import Index
from pipeline.features.maps import MapCache
from pipeline.features.regions import RegionSampler, RegionSamples, label_proposals
from pipeline.nets.backbones import architecture
from pipeline.nets.weights import Backbone
from pipeline.proposals.store import ProposalSet
from pipeline.stage import Stage, run
from pipeline.systems.sppnet.finetune import JoinedMaps, PooledBatches, trained_splits, validation_loss
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.sppnet.params import PyramidFinetune, Sppnet
from pipeline.training import Task, chosen, classification_loss, publish_curves, train


def main(stage: Stage) -> None:
    p, sppnet = stage.params, stage.section(Sppnet)
    settings, levels, window = sppnet.finetune, sppnet.pyramid, sppnet.window
    backbone = Backbone.load(stage.dep(f"models/backbones/{sppnet.backbone}.safetensors"))
    net = architecture(backbone.network)
    parts: dict[str, tuple[Split, ...]] = {"train": trained_splits(settings, p.data.fit_splits)}
    if settings.validation_batches:
        parts["val"] = ("val",)
    caches = {
        split: MapCache(stage.dep(f"features/sppnet/{split}.zarr"), f"systems/sppnet/dvc.yaml:maps@{split}")
        for splits in parts.values()
        for split in splits
    }
    first = caches[parts["train"][0]]
    for cache in caches.values():
        cache.check(first.fingerprint, first.path)
    maps = {part: JoinedMaps([caches[split] for split in splits]) for part, splits in parts.items()}
    images = sum(map(len, maps.values()))
    windows = {part: windows_of(stage, splits, settings, sppnet.difficult) for part, splits in parts.items()}
    batches = {
        part: PooledBatches(
            maps[part],
            RegionSampler(*windows[part], settings, "sppnet_finetune"),
            net,
            window,
            levels,
            seed=p.seed,
            purpose=part,
            megabytes=p.runtime.image_cache_mb * len(maps[part]) / images,
            random_scale=part == "train",
        )
        for part in parts
        if part == "train" or len(windows[part][0])
    }

    torch.manual_seed(p.seed)
    width = net.fc[2] if net.fc else sppnet.fc_width
    classes = Index.load(stage.dep("data/index/train.json")).classes
    shape = PyramidShape(
        net.name, first.fingerprint, net.channels, window.rule, window.side, levels, width, len(classes) + 1
    )
    head = PyramidHead(shape)
    fresh = head.load_backbone(backbone)
    print(f"new layers: {', '.join(fresh)}")
    head.to(stage.device)
    train(
        Task(
            head,
            losses=lambda model, batch: classification_loss(model, batch.labelled()),
            image_ids=lambda batch: maps["train"].image_ids[list(batch.images)].tolist(),
            # Only above a pre-trained fc7: the higher rate kills the units of new fc layers on vectors this wide.
            rates={"output.": settings.new_layer_lr} if fresh == ["output"] else {},
            validate=(lambda: validation_loss(head, batches["val"], settings.validation_batches, stage.device))
            if "val" in batches
            else None,
        ),
        batches["train"],
        settings.schedule,
        title="fine-tuning on pooled windows",
        **stage.training,
    )
    steps = settings.schedule.steps
    step, loss = chosen(stage.scratch.folder) or (steps, None)
    head.save(stage.out("models/sppnet/network.safetensors"))
    backbone.convolutions().save(stage.out("models/sppnet/backbone.safetensors"))
    print(f"snapshot of step {step}, validation loss {loss}")
    publish_curves(stage.scratch.folder, stage.report / "curves")
    seen = steps * (settings.foreground + settings.background)
    stage.finish(seen, "window", steps=steps, snapshot_step=step, validation_loss=loss)


def windows_of(
    stage: Stage, splits: Sequence[Split], settings: PyramidFinetune, difficult: bool
) -> tuple[RegionSamples, RegionSamples]:
    """Return the foreground and background windows of some splits, their images counted on from split to split."""
    indices = {split: Index.load(stage.dep(f"data/index/{split}.json")) for split in splits}
    images = [image for index in indices.values() for image in index.images]
    proposals = [
        boxes
        for split, index in indices.items()
        for boxes in ProposalSet.load(stage.dep(f"proposals/{split}.h5"), index)
    ]
    foreground, background = label_proposals(images, proposals, settings, difficult=difficult)
    print(f"{', '.join(splits)}: {len(foreground)} foreground and {len(background)} background windows")
    return foreground, background


if __name__ == "__main__":
    run(main)
