"""What both networks see of an image at test: the whole of it at their first scale.

From scored anchors to proposals (Faster R-CNN, section 3.3; ``lib/rpn/proposal_layer.py``).

The proposals of a whole split, in the format of all proposals, so that all code for proposals reads them.

Faster R-CNN at test: one map an image, proposals from it, and the detector on the same map (section 3.2).

Faster R-CNN on pictures: one map, from which the proposals come as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, as_boxes, clip, decode, nms
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.runtime import progress
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord
from pipeline.detector import Description, Found, Image, Picture, opened, read_description
from pipeline.evaluation.detections import Detections, LeastScores
from pipeline.imaging import pad, pixels, scale_factor
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.detector import ScoredRegions, postprocess, postprocess_one, score_regions
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.params import FasterDetection, RpnProposals


@dataclass(frozen=True)
class Resized:
    """Images of one size, resized.

    Attributes:
        pixels: ``(N, 3, h, w)`` float32, normalised.
        factor: by which they were resized.
        size: ``(width, height)`` before that.
    """

    pixels: torch.Tensor
    factor: float
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Return height and width after resizing."""
        return self.pixels.shape[2], self.pixels.shape[3]


def resized(images: Sequence[NDArray[np.uint8]], shape: RpnShape, device: torch.device) -> Resized:
    """Resize ``images`` ``(H, W, 3)``, all of one size, to the first scale of ``shape``."""
    height, width = images[0].shape[:2]
    factor = scale_factor(width, height, shape.short_sides[0], shape.long_side)
    return Resized(pad([pixels(image, factor) for image in images], device), factor, (width, height))


@torch.inference_mode()
def propose(
    network: RegionProposalNetwork,
    maps: torch.Tensor,
    shape: tuple[int, int],
    factor: float,
    size: tuple[int, int],
    settings: RpnProposals,
) -> Boxes:
    """Return the proposals of one image, best first, in pixels of the original image: ``(N, 4)``.

    Every anchor is moved by its offsets and clipped; boxes with a side below ``min_side`` are dropped, then come the
    ``before`` best (0: all), suppression of overlaps above ``nms``, and the ``after`` best.

    Args:
        network: on the device of ``maps``.
        maps: ``(1, channels, rows, columns)``, of one image.
        shape: its height and width after resizing.
        factor: by which it was resized.
        size: ``(width, height)`` of the original image.
        settings: thresholds and numbers of boxes.
    """
    scores, offsets = network.head(maps)
    objectness = (scores[0, :, 1] - scores[0, :, 0]).cpu().numpy()
    moved = as_boxes(decode(network.anchors(*shape), offsets[0].cpu().numpy())) / np.float32(factor)
    boxes = clip(moved, *size)
    large = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] >= max(settings.min_side, 1e-3)).all(axis=1))
    best = large[np.argsort(-objectness[large], kind="stable")[: settings.before or None]]
    return boxes[best][nms(boxes[best], objectness[best], settings.nms)[: settings.after]]


@torch.inference_mode()
def propose_all(
    network: RegionProposalNetwork,
    records: Sequence[ImageRecord],
    root: Path,
    settings: RpnProposals,
    device: torch.device,
    what: str,
) -> ProposalSet:
    """Return the proposals of ``records``, files below ``root``, at the network's first scale."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = []
    for record in progress(records, what):
        seen = resized([read_image(root / record.file)], network.shape, device)
        found.append(propose(network, network.conv(seen.pixels), seen.shape, seen.factor, seen.size, settings))
    return ProposalSet.join(found, [record.id for record in records], "rpn", settings.model_dump(mode="json"))


def check_shared(rpn: RegionProposalNetwork, detector: FastRcnn) -> None:
    """Check that both networks have the same convolutions, so that one map serves both.

    Raises:
        InputError: a weight differs.
    """
    ours, theirs = rpn.conv.state_dict(), detector.conv.state_dict()
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
        raise InputError(
            "the proposal network and the detector have different convolutions; faster_rcnn_rpn2 and "
            "faster_rcnn_detector2 train with frozen ones, both those of faster_rcnn_detector1."
        )


def detect(
    rpn: RegionProposalNetwork,
    detector: FastRcnn,
    records: Sequence[ImageRecord],
    root: Path,
    settings: FasterDetection,
    device: torch.device,
) -> tuple[Detections, LeastScores]:
    """Detect in the images ``records``, files below ``root``, at the networks' first scale; see `postprocess`.

    Raises:
        InputError: the networks do not share their convolutions.
    """
    check_shared(rpn, detector)
    for network in (rpn, detector):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def scored() -> Iterator[tuple[int, ScoredRegions]]:
        for record in progress(records, "detecting"):
            (regions,) = score_images(rpn, detector, [read_image(root / record.file)], settings, device)
            yield record.id, regions

    return postprocess(scored(), settings)


@torch.inference_mode()
def score_images(
    rpn: RegionProposalNetwork,
    detector: FastRcnn,
    images: Sequence[NDArray[np.uint8]],
    settings: FasterDetection,
    device: torch.device,
    clock: Clock = NULL_CLOCK,
) -> list[ScoredRegions]:
    """Score the networks' own proposals in ``images`` ``(H, W, 3)``, which have one size and share a forward pass.

    ``clock`` times ``convolution``, ``proposals`` (of the network's) and what `score_regions` times.
    """
    with clock.phase("convolution"):
        seen = resized(images, rpn.shape, device)
        maps = rpn.conv(seen.pixels)
    found = []
    for own in maps.split(1):
        with clock.phase("proposals"):
            boxes = propose(rpn, own, seen.shape, seen.factor, seen.size, settings.proposals)
        found.append(score_regions(detector, own, [seen.factor], boxes, *seen.size, settings.box_regression, clock))
    return found


class FasterRcnn:
    """A `Detector`; images of one size go through the convolutions together."""

    system = "faster_rcnn"
    batched = True

    def __init__(
        self, description: Description, rpn: RegionProposalNetwork, network: FastRcnn, device: torch.device
    ) -> None:
        check_shared(rpn, network)
        self.classes, self._least = description.classes, description.least
        self._settings = description.section("detect", FasterDetection)
        self._rpn, self._network = (
            module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for module in (rpn, network)
        )
        self._device = device

    @classmethod
    def load(cls, models: Path, device: torch.device) -> "FasterRcnn":
        """Read what the stages left below ``models``."""
        folder = models / cls.system
        return cls(
            read_description(folder, cls.system),
            RegionProposalNetwork.load(folder / "rpn2.safetensors", "faster_rcnn_rpn2"),
            FastRcnn.load(folder / "detector2.safetensors", "faster_rcnn_detector2"),
            device,
        )

    def detect(self, images: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Found]:
        """Return what is found in each image."""
        pixels = [opened(image, clock) for image in images]
        found: dict[int, Found] = {}
        for places in _by_shape(pixels):
            batch = [pixels[place] for place in places]
            scored = score_images(self._rpn, self._network, batch, self._settings, self._device, clock)
            for place, regions in zip(places, scored, strict=True):
                with clock.phase("suppression"):
                    found[place] = Found.of(postprocess_one(regions, self._settings, self._least))
        return [found[place] for place in range(len(images))]


def _by_shape(images: Sequence[Image]) -> list[list[int]]:
    """Return the positions of the images of each shape: a batch of several would see padding at its borders."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(image.shape, []).append(place)
    return list(groups.values())
