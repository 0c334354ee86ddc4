"""Region warping: any box of an image becomes a square of fixed size (R-CNN, appendix A; ``rcnn_im_crop.m``).

A box is enlarged so that ``padding`` pixels of the *warped* square are context, rounded to whole pixels, clipped to the
image, and the clipped patch is resized without keeping its aspect, to its share of the square. Pixels outside the image
are zero, which is the mean, since images are normalised. Region classifiers train on a `WarpBatch`, labelled regions of
many images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes
from pipeline.core.part import WHOLE, Part
from pipeline.core.runtime import opencv
from pipeline.core.sections import Region
from pipeline.data.images import ImageCache
from pipeline.features.regions import RegionSamples
from pipeline.nets.backbones import normalise
from pipeline.training import LabelledBatch, classification_loss

# Where grid_sample is slower than the network it feeds (20 times slower than OpenCV's resize on two CPU cores), regions
# are resized one after the other; elsewhere all regions of an image are one call.
_RESIZE_ON = "cpu"


def placements(boxes: Boxes, width: int, height: int, region: Region) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels of the image that the region of each box (N, 4) shows, and the part of the square they fill.

    Both are ``(x1, y1, x2, y2)``, int64, half-open, of shape ``(N, 4)``: the first in the image, with at least one
    pixel a side, the second in the square of ``region.size`` pixels. Both ends of the second are rounded; the official
    code rounds its start and its width, which puts the end of one region in 300 a pixel further on.
    """
    boxes = as_boxes(boxes).astype(np.float64)
    size = np.array([width, height, width, height])
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    if region.mode == "square":
        half = np.repeat(half.max(axis=1, keepdims=True), 2, axis=1)
    reach = half * region.size / (region.size - 2 * region.padding)
    # The official code adds half the "+1" width to a 1-based corner, which is half a pixel right of and below the true
    # centre, and its rounded corners are inclusive: one pixel more on the far side. It takes a box that is not enlarged
    # as it is.
    further = 1 if region.padding or region.mode == "square" else 0
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    wanted = np.concatenate([_round(centre + 1 - reach) - 1, _round(centre + further + reach)], axis=1)
    extent = np.maximum(np.tile(wanted[:, 2:] - wanted[:, :2], 2), 1)
    start = np.tile(wanted[:, :2], 2)
    shown = np.clip(wanted, 0, size)
    shown[:, :2] = np.minimum(shown[:, :2], size[:2] - 1)
    shown[:, 2:] = np.maximum(shown[:, 2:], shown[:, :2] + 1)
    filled = np.clip(_round((shown - start) * region.size / extent), 0, region.size)
    filled[:, :2] = np.minimum(filled[:, :2], region.size - 1)
    filled[:, 2:] = np.maximum(filled[:, 2:], filled[:, :2] + 1)
    return shown.astype(np.int64), filled.astype(np.int64)


def warp(image: torch.Tensor, boxes: Boxes, region: Region) -> torch.Tensor:
    """Return the warped regions, float32 ``(N, 3, size, size)`` in channels-last layout, on the image's device.

    Args:
        image: ``(3, H, W)`` float32, normalised to zero mean.
        boxes: ``(N, 4)`` in pixels of the image.
        region: size, context and mode.
    """
    if image.device.type == _RESIZE_ON:
        squares = np.zeros((len(boxes), region.size, region.size, 3), np.float32)
        resize_each(image.permute(1, 2, 0).contiguous().numpy(), boxes, region, squares)
        return torch.from_numpy(squares).permute(0, 3, 1, 2)
    shown, filled = placements(boxes, image.shape[2], image.shape[1], region)
    return sample_all(image, shown, filled, region.size)


def resize_each(pixels: NDArray, boxes: Boxes, region: Region, squares: NDArray[np.float32]) -> None:
    """Warp with OpenCV's bilinear resize, each box (N, 4) into its place among the zeros ``(N, size, size, 3)``.

    ``pixels`` is ``(H, W, 3)``: float32 and normalised, or uint8, of which only what is shown is normalised.
    """
    cv2 = opencv()
    shown, filled = placements(boxes, pixels.shape[1], pixels.shape[0], region)
    levels = _levels() if pixels.dtype == np.uint8 else None
    for square, (x1, y1, x2, y2), (left, top, right, bottom) in zip(
        squares, shown.tolist(), filled.tolist(), strict=True
    ):
        patch = pixels[y1:y2, x1:x2]
        if levels is not None:
            patch = cv2.LUT(patch, levels)
        square[top:bottom, left:right] = cv2.resize(patch, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)


@cache
def _levels() -> NDArray[np.float32]:
    """Return what `normalise` makes of each of the 256 values of a channel, ``(1, 256, 3)``."""
    values = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    return normalise(values).permute(1, 2, 0).contiguous().numpy()


def sample_all(image: torch.Tensor, shown: NDArray[np.int64], filled: NDArray[np.int64], size: int) -> torch.Tensor:
    """Warp all regions in one batched bilinear sampling on the image's device."""
    places = torch.from_numpy(np.stack([shown, filled])).to(image.device, torch.float32)
    x, inside_x = _source(places[0][:, [0, 2]], places[1][:, [0, 2]], size, image.shape[2])
    y, inside_y = _source(places[0][:, [1, 3]], places[1][:, [1, 3]], size, image.shape[1])
    count = len(shown)
    grid = torch.stack([x[:, None, :].expand(count, size, size), y[:, :, None].expand(count, size, size)], dim=-1)
    sampled = torch.nn.functional.grid_sample(
        image[None].expand(count, -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    sampled *= (inside_y[:, :, None] & inside_x[:, None, :])[:, None]
    return sampled.contiguous(memory_format=torch.channels_last)


def _source(shown: torch.Tensor, filled: torch.Tensor, size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each output pixel of one axis its source, in grid_sample's [-1, 1], and whether it is filled.

    ``shown`` and ``filled`` are (N, 2); both results are (N, size). Sources stay inside the patch: its border is
    repeated, as a resize of the patch alone would.
    """
    pixel = torch.arange(size, device=shown.device)[None]
    start, stop = filled[:, :1], filled[:, 1:]
    first, last = shown[:, :1], shown[:, 1:] - 1
    source = first + (pixel + 0.5 - start) * (last + 1 - first) / (stop - start) - 0.5
    source = torch.minimum(torch.maximum(source, first), last)
    return source * 2 / max(length - 1, 1) - 1, (pixel >= start) & (pixel < stop)


def _round(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round half up, as Matlab and C round the positive numbers that matter here."""
    return np.floor(values + 0.5)


@dataclass(frozen=True)
class WarpBatch:
    """The regions of a step with the pixels of their images, each image once.

    Attributes:
        samples: sorted by image.
        pixels: the images, uint8 ``(3, H, W)``, in the order of their first sample.
        size: side of the warped region.
    """

    samples: RegionSamples
    pixels: tuple[torch.Tensor, ...]
    size: int


def collect(samples: RegionSamples, images: ImageCache, size: int, part: Part = WHOLE) -> WarpBatch:
    """Sort the samples by image and read the images; of a part of the samples, its own."""
    order = part.of(np.argsort(samples.images, kind="stable"))
    samples = samples.take(order, samples.mirrored[order])
    pixels = tuple(
        torch.from_numpy(images[position]).permute(2, 0, 1) for position in np.unique(samples.images).tolist()
    )
    return WarpBatch(samples, pixels, size)


def warp_batch(batch: WarpBatch, region: Region, device: torch.device) -> LabelledBatch:
    """Return the regions as the network sees them, ``(N, 3, size, size)`` normalised and channels last, on ``device``.

    ``batch.size`` replaces ``region.size``; the context keeps its share of the side.
    """
    padding = round(region.padding * batch.size / region.size)
    scaled = region.model_copy(update={"size": batch.size, "padding": padding})
    samples = batch.samples
    ends = np.flatnonzero(np.diff(samples.images, append=-1)) + 1
    images = [(pixels, slice(a, b)) for pixels, a, b in zip(batch.pixels, [0, *ends[:-1]], ends, strict=True)]
    if device.type == _RESIZE_ON:
        squares = np.zeros((len(samples), batch.size, batch.size, 3), np.float32)
        for pixels, rows in images:
            resize_each(pixels.permute(1, 2, 0).numpy(), samples.boxes[rows], scaled, squares[rows])
        warped = torch.from_numpy(squares).permute(0, 3, 1, 2)
    else:
        warped = torch.cat([warp(normalise(pixels.to(device)), samples.boxes[rows], scaled) for pixels, rows in images])
    if samples.mirrored.any():
        mirrored = torch.from_numpy(samples.mirrored).to(device)
        warped = torch.where(mirrored[:, None, None, None], warped.flip(3), warped)
    labels = torch.from_numpy(samples.labels).to(device)
    return LabelledBatch(warped.contiguous(memory_format=torch.channels_last), labels)


def warp_loss(network: Any, batch: WarpBatch, region: Region) -> Mapping[str, torch.Tensor]:
    """Return the `classification_loss` of the regions, warped where their pixels are."""
    return classification_loss(network, warp_batch(batch, region, batch.pixels[0].device))


def warp_counts(batch: WarpBatch) -> Mapping[str, int]:
    """Return the number of regions, by which `warp_loss` is divided."""
    return {"loss": len(batch.samples)}


def warp_image_ids(batch: WarpBatch, ids: Sequence[int]) -> list[int]:
    """Return the ids of the regions' images, ``ids`` by position."""
    return [ids[position] for position in batch.samples.images.tolist()]
