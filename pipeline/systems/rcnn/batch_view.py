"""What a step of R-CNN's fine-tuning sees: warped regions of many images."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.batch_view import SeenBatches, SeenPicture, region_marks
from pipeline.core.sections import Region
from pipeline.features.regions import label_proposals
from pipeline.features.warp import WarpBatch, warp_batch
from pipeline.nets.backbones import MEAN, STD
from pipeline.systems.rcnn.finetune import FinetuneBatches
from pipeline.systems.rcnn.params import Rcnn
from pipeline.training_images import TrainingImages, trained_splits

if TYPE_CHECKING:
    from pipeline.params import Params


def seen_batches(params: "Params", images: TrainingImages, stage: str) -> SeenBatches:
    """Return the batches of the stage ``finetune``; see `pipeline.registry.System.seen_batches`."""
    rcnn = params.section(Rcnn)
    images = images.of(trained_splits(rcnn.finetune.schedule, "rcnn.finetune.schedule", params.data.fit_splits))
    proposals = images.proposals(lambda split: Path(f"proposals/{split}.h5"))
    foreground, background = label_proposals(images.records, proposals, rcnn.finetune, difficult=rcnn.difficult)
    batches = FinetuneBatches(foreground, background, images.pixels, rcnn.finetune, rcnn.region.size, params.seed)
    return SeenBatches(
        rcnn.finetune.schedule.steps, batches, lambda step: pictures(batches(step), rcnn.region, images.classes)
    )


def pictures(batch: WarpBatch, region: Region, classes: tuple[str, ...]) -> tuple[SeenPicture, ...]:
    """Return the warped regions of ``batch``, framed by class; what lies outside the image has the mean colour."""
    frame = np.array([[1, 1, batch.size - 1, batch.size - 1]], np.float32)
    warped = warp_batch(batch, region, torch.device("cpu"))
    return tuple(
        SeenPicture(classes[label - 1] if label else "", pixels, region_marks(frame, np.array([label]), classes))
        for pixels, label in zip(_pixels(warped.inputs), warped.labels.tolist(), strict=True)
    )


def _pixels(inputs: torch.Tensor) -> NDArray[np.uint8]:
    """Return what `normalise` made ``inputs`` (N, 3, H, W) of: ``(N, H, W, 3)``."""
    values = inputs.permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)
    return (255 * values).round().clamp(0, 255).to(torch.uint8).numpy()
