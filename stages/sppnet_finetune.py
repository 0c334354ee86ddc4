"""SPP-net, stage 2: fine-tune the layers above the cached maps; writes models/sppnet/network.safetensors.

Trained on the windows of train; the snapshot is chosen by its loss on windows of val, never of test.
"""

from pathlib import Path

import torch

from pipeline import params
from pipeline.core import costs, runtime
from pipeline.core.code import code_fingerprint
from pipeline.core.storage import Scratch, fingerprint, write_json
from pipeline.data.index import Index
from pipeline.features.maps import MapCache
from pipeline.features.regions import RegionSampler, RegionSamples, label_proposals
from pipeline.nets.backbones import architecture
from pipeline.nets.weights import Backbone
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.finetune import CutBatches, pool_batch, validation_loss
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.sppnet.params import PyramidFinetune
from pipeline.training import StepBatches, Task, chosen, classification_loss, publish_curves, train

BACKBONE = Path("models/backbone.safetensors")
NETWORK = Path("models/sppnet/network.safetensors")
METRICS = Path("reports/metrics/sppnet_finetune.json")
CURVES = Path("reports/plots/sppnet_finetune")
COSTS = Path("reports/costs/sppnet_finetune.json")


def main() -> None:
    p = params.load()
    device = runtime.device(p.runtime.device)
    settings, levels, window = p.sppnet.finetune, p.sppnet.pyramid, p.sppnet.window
    backbone = Backbone.load(BACKBONE)
    net = architecture(backbone.network)
    maps = {
        split: MapCache(Path(f"features/sppnet/{split}.zarr"), f"sppnet_maps@{split}") for split in ("train", "val")
    }
    maps["val"].check(maps["train"].fingerprint, maps["train"].path)
    windows = {split: windows_of(split, settings) for split in maps}
    batches = {
        split: CutBatches(
            maps[split],
            RegionSampler(*windows[split], settings, "sppnet_finetune"),
            net,
            window,
            seed=p.seed,
            purpose=split,
            megabytes=p.runtime.image_cache_mb,
        )
        for split in maps
        if split == "train" or len(windows[split][0])
    }

    torch.manual_seed(p.seed)
    classes = Index.load(Path("data/index/train.json")).classes
    width = net.fc[2] if net.fc else p.sppnet.fc_width
    shape = PyramidShape(
        net.name, maps["train"].fingerprint, net.channels, window.rule, window.side, levels, width, len(classes) + 1
    )
    head = PyramidHead(shape)
    fresh = head.load_backbone(backbone)
    print(f"new layers: {', '.join(fresh)}")
    head.to(device)
    inputs = [Path("data/index"), Path("proposals/train.h5"), Path("proposals/val.h5"), BACKBONE]
    scratch = Scratch(
        "sppnet_finetune",
        fingerprint(
            code=code_fingerprint(Path(__file__)),
            params=[p.seed, settings.model_dump(), window.model_dump(), levels, p.sppnet.fc_width],
            maps=[cache.attributes for cache in maps.values()],
            inputs=[[str(path), fingerprint(path=path)] for path in inputs],
            torch=torch.__version__,
        ),
    )
    validates = settings.validation_batches > 0 and "val" in batches
    train(
        Task(
            head,
            losses=classification_loss(head),
            prepare=lambda batch, target: pool_batch(batch, levels, target),
            images=lambda batch: maps["train"].image_ids[list(batch.images)].tolist(),
            # Only above a pre-trained fc7: the higher rate kills the units of new fc layers on vectors this wide.
            fast=("output.",) if fresh == ["output"] else (),
            fast_factor=settings.new_layer_lr,
            validate=(lambda: validation_loss(head, batches["val"], settings.validation_batches, device))
            if validates
            else None,
        ),
        StepBatches(batches["train"], settings.schedule.steps),
        settings.schedule,
        scratch=scratch.folder,
        seed=p.seed,
        device=device,
        workers=runtime.loader_workers(device, p.runtime.workers),
        what="fine-tuning on pooled windows",
    )
    step, loss = chosen(scratch.folder) or (settings.schedule.steps, None)
    head.save(NETWORK)
    write_json(METRICS, {"steps": settings.schedule.steps, "snapshot_step": step, "validation_loss": loss})
    print(f"snapshot of step {step}, validation loss {loss}")
    publish_curves(scratch.folder, CURVES)
    costs.record(
        COSTS, settings.schedule.steps * (settings.foreground + settings.background), "window", resumed=scratch.resumed
    )
    scratch.clear()


def windows_of(split: str, settings: PyramidFinetune) -> tuple[RegionSamples, RegionSamples]:
    """Return the foreground and background windows of a split."""
    index = Index.load(Path(f"data/index/{split}.json"))
    proposals = ProposalSet.load(Path(f"proposals/{split}.h5"), index)
    foreground, background = label_proposals(index.images, list(proposals), settings)
    print(f"{split}: {len(foreground)} foreground and {len(background)} background windows")
    return foreground, background


if __name__ == "__main__":
    runtime.run(main)
