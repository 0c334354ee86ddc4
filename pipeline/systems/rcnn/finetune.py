"""R-CNN's fine-tuning batches: labelled regions of many images, to be warped (R-CNN, section 2.3)."""

from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import item_rng
from pipeline.data.images import ImageCache
from pipeline.features.regions import RegionSampler, RegionSamples
from pipeline.features.warp import WarpBatch, collect
from pipeline.systems.rcnn.params import Finetune


class FinetuneBatches:
    """Makes the batch of a step.

    Raises:
        InputError: there is no foreground.
    """

    def __init__(
        self,
        foreground: RegionSamples,
        background: RegionSamples,
        images: ImageCache,
        settings: Finetune,
        size: int,
        seed: int,
    ) -> None:
        self._draw = RegionSampler(foreground, background, settings, "rcnn_finetune")
        self._images, self._flip, self._size, self._seed = images, settings.flip, size, seed

    def __call__(self, step: int, part: Part = WHOLE) -> WarpBatch:
        """Return the batch of ``step``, or a part of it."""
        samples = self._draw(item_rng(self._seed, "windows", step), self._flip)
        return collect(samples, self._images, self._size, part)
