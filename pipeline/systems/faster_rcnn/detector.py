"""Faster R-CNN as a detector: one map, proposals from it, and the detector's regions on the same map (section 3.2).

All images are resized to the networks' first scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.boxes import Boxes, best_first, clip, decode, nms
from pipeline.core.clock import NULL_CLOCK, Clock
from pipeline.core.errors import InputError
from pipeline.core.runtime import progress, read_ahead
from pipeline.data.images import read_image
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Candidates, Description, Detector, Image, Picture
from pipeline.imaging import pad, pixels, scale_factor
from pipeline.nets.backbones import channels_last
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.detector import RegionDetector, limits_of, score_regions
from pipeline.systems.fast_rcnn.network import FastRcnn
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork
from pipeline.systems.faster_rcnn.params import FasterDetection, FasterRcnn, RpnProposals
from pipeline.systems.indices import load_indices
from pipeline.whole_images import WholeImages

if TYPE_CHECKING:
    from pipeline.params import Params

STAGES = "systems/faster_rcnn/dvc.yaml"
# Images of a split that are decoded while the network works on one.
IMAGES_AHEAD = 2


@dataclass(frozen=True)
class Resized:
    """Images of one size, resized.

    Attributes:
        pixels: ``(N, 3, h, w)`` float32, normalised; a strip is padded (`pipeline.imaging.pad`).
        factor: by which they were resized.
        size: ``(width, height)`` before that.
    """

    pixels: torch.Tensor
    factor: float
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Return height and width after resizing, padding included."""
        return self.pixels.shape[2], self.pixels.shape[3]


def resized(images: Sequence[NDArray[np.uint8]], network: RegionProposalNetwork, device: torch.device) -> Resized:
    """Resize ``images`` ``(H, W, 3)``, all of one size, to the first scale of ``network``."""
    (height, width), shape = images[0].shape[:2], network.shape
    factor = scale_factor(width, height, shape.short_sides[0], shape.long_side)
    seen = [pixels(image, factor) for image in images]
    return Resized(pad(seen, device, network.geometry.smallest()), factor, (width, height))


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

    Source: section 3.3; ``lib/rpn/proposal_layer.py``.

    Every anchor is moved by its offsets and clipped; boxes with a side below ``min_side`` are dropped, then come the
    ``pre_nms_top_n`` best (0: all), suppression of overlaps above ``nms``, and the ``post_nms_top_n`` best.

    Args:
        network: on the device of ``maps``.
        maps: ``(1, channels, rows, columns)``, of one image.
        shape: its height and width after resizing, padding included.
        factor: by which it was resized.
        size: ``(width, height)`` of the original image.
        settings: thresholds and numbers of boxes.
    """
    scores, moves = network.head(maps)
    objectness: Any = scores[0, :, 1] - scores[0, :, 0]
    anchors: Any = torch.from_numpy(network.anchors(*shape)).to(maps.device)
    offsets: Any = moves[0]
    if maps.device.type == "cpu":  # there NumPy's functions are used; boxes on a GPU stay there until they are chosen
        objectness, anchors, offsets = objectness.numpy(), anchors.numpy(), offsets.numpy()
    boxes = clip(decode(anchors, offsets) / np.float32(factor), *size)
    side = max(settings.min_side, 1e-3)
    large = (boxes[:, 2] - boxes[:, 0] >= side) & (boxes[:, 3] - boxes[:, 1] >= side)
    boxes, objectness = boxes[large], objectness[large]
    best = best_first(objectness)[: settings.pre_nms_top_n or None]
    kept = best[nms(boxes[best], objectness[best], settings.nms, settings.post_nms_top_n)]
    return boxes[kept] if isinstance(boxes, np.ndarray) else boxes[kept].cpu().numpy()


@torch.inference_mode()
def propose_all(
    network: RegionProposalNetwork,
    records: Sequence[ImageRecord],
    root: Path,
    settings: RpnProposals,
    device: torch.device,
    title: str,
) -> ProposalSet:
    """Return the proposals of ``records``, files below ``root``, at the network's first scale."""
    channels_last(network, device)
    proposals = []
    files = [root / record.file for record in records]
    for _, image in progress(read_ahead(read_image, files, workers=1, ahead=IMAGES_AHEAD), title, total=len(files)):
        seen = resized([image], network, device)
        proposals.append(propose(network, network.conv(seen.pixels), seen.shape, seen.factor, seen.size, settings))
    return ProposalSet.join(proposals, [record.id for record in records], "rpn", settings.model_dump(mode="json"))


def check_shared(rpn: RegionProposalNetwork, detector: FastRcnn) -> None:
    """Check that both networks have the same convolutions, so that one map serves both.

    Raises:
        InputError: a weight differs.
    """
    ours, theirs = rpn.conv.state_dict(), detector.conv.state_dict()
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
        raise InputError(
            "the proposal network and the detector have different convolutions; the stages rpn@2 and detector@2 "
            f"of {STAGES} train with those of detector@1, frozen."
        )


class FasterRcnnDetector(RegionDetector):
    """Faster R-CNN; pictures of one size go through the convolutions together, images of a split one by one.

    Args:
        description: with the settings ``detect`` and, with the protocol ``budget``, ``limits``.
        rpn: the proposal network.
        network: the detector, with the same convolutions.
        device: where both compute.

    Raises:
        InputError: the networks do not share their convolutions.
    """

    batched = True

    def __init__(
        self, description: Description, rpn: RegionProposalNetwork, network: FastRcnn, device: torch.device
    ) -> None:
        check_shared(rpn, network)
        self._settings = description.section("detect", FasterDetection)
        super().__init__(description, self._settings)
        self._rpn, self._network = channels_last(rpn, device), channels_last(network, device)
        self._device = device
        self.whole_images = WholeImages.resized(rpn, rpn.shape.short_sides[:1], rpn.shape.long_side)

    def candidates(self, pictures: Sequence[Picture], clock: Clock = NULL_CLOCK) -> list[Candidates]:
        """Return the candidates of each picture."""
        images = [picture.pixels(clock) for picture in pictures]
        candidates: dict[int, Candidates] = {}
        for places in _by_shape(images):
            scored = self._score([images[place] for place in places], clock)
            candidates |= zip(places, scored, strict=True)
        return [candidates[place] for place in range(len(images))]

    @torch.inference_mode()
    def _score(self, images: Sequence[Image], clock: Clock) -> list[Candidates]:
        """Return the candidates of ``images`` of one size, which share a forward pass through the convolutions."""
        with clock.phase("convolution"):
            seen = resized(images, self._rpn, self._device)
            maps = self._rpn.conv(seen.pixels)
        regress, candidates = self._settings.box_regression, []
        for image_map in maps.split(1):
            with clock.phase("proposals"):
                boxes = propose(self._rpn, image_map, seen.shape, seen.factor, seen.size, self._settings.proposals)
            (regions,) = score_regions([self._network], image_map, [seen.factor], boxes, *seen.size, regress, clock)
            with clock.phase("suppression"):
                candidates.append(self.choose(regions))
        return candidates


def _by_shape(images: Sequence[Image]) -> list[list[int]]:
    """Return the positions of the images of each shape: a batch of several would see padding at its borders."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(image.shape, []).append(place)
    return list(groups.values())


def load(models: Path, device: torch.device) -> Detector:
    """Return the detector for pictures; see `pipeline.registry.System`."""
    return _load(Description.load(models / "faster_rcnn", "faster_rcnn"), models / "faster_rcnn", device)


def on_test_split(params: "Params", index: Index, device: torch.device) -> Detector:
    """Return the detector for the test split; see `pipeline.registry.System`."""
    detect = params.section(FasterRcnn).detect
    fitted = load_indices(params.data.fit_splits)
    limits = limits_of(detect, fitted, "faster_rcnn.detect")
    description = Description.of("faster_rcnn", index.classes, detect=detect, **limits)
    return _load(description, Path("models/faster_rcnn"), device)


def _load(description: Description, folder: Path, device: torch.device) -> Detector:
    rpn = RegionProposalNetwork.load(folder / "rpn2.safetensors", f"{STAGES}:rpn@2")
    network = FastRcnn.load(folder / "detector2.safetensors", f"{STAGES}:detector@2")
    return FasterRcnnDetector(description, rpn, network, device)
