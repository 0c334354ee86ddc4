"""What a step of SPP-net's fine-tuning sees: regions of many images, whose cells are pooled from cached maps."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.batch_view import Marks, Role, SeenBatches, SeenPicture, region_marks
from pipeline.features.maps import MapCache
from pipeline.features.regions import RegionSampler, label_proposals
from pipeline.nets.backbones import architecture
from pipeline.systems.sppnet.finetune import JoinedMaps, PooledBatches
from pipeline.systems.sppnet.params import Sppnet
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of the stage ``finetune``; see `pipeline.registry.System.seen_batches`."""
    sppnet = params.section(Sppnet)
    settings = sppnet.finetune
    splits = trained_splits(settings.schedule, "sppnet.finetune.schedule", params.data.fit_splits)
    images = images.of(splits)
    maps = [
        MapCache(Path(f"features/sppnet/{split}.zarr"), f"systems/sppnet/dvc.yaml:maps@{split}") for split in splits
    ]
    proposals = images.proposals(lambda split: Path(f"proposals/{split}.h5"))
    windows = label_proposals(images.records, proposals, settings, difficult=sppnet.difficult)
    batches = PooledBatches(
        JoinedMaps(maps),
        RegionSampler(*windows, settings, "sppnet_finetune"),
        architecture(sppnet.backbone),
        sppnet.window,
        sppnet.pyramid,
        seed=params.seed,
        purpose="train",
        megabytes=params.runtime.image_cache_mb,
    )
    return SeenBatches(settings.schedule.steps, batches, lambda step: pictures(batches, images, sppnet.difficult, step))


def pictures(batches: PooledBatches, images: TrainingImages, difficult: bool, step: int) -> tuple[SeenPicture, ...]:
    """Return the images of ``step``, each once: objects, and over them regions in the colours of their classes."""
    samples, _ = batches.drawn(step)
    seen = []
    for position in np.unique(samples.images).tolist():
        here, record = samples.images == position, images.records[position]
        objects = Marks(Role.OBJECT, "object", record.boxes[record.trained(difficult)])
        regions = region_marks(samples.boxes[here], samples.labels[here], images.classes)
        seen.append(SeenPicture(images.title(position), images.pixels[position], (objects, *regions)))
    return tuple(seen)
