"""What `benchmarks.gpu` measures: the project's own networks, batches, losses and detectors on generated pictures.

A part is a function of `Sizes` that yields what is run again and again, one `Work` after another. Weights are random:
times do not depend on them, but for what they let through to suppression. Proposals are drawn, not searched.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.core.boxes import Boxes, clip
from pipeline.core.clock import Clock
from pipeline.core.sections import Schedule
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Description, Detector, Image
from pipeline.features.maps import ImageMaps, map_cells, map_sizes
from pipeline.features.regions import RegionSampler, label_proposals
from pipeline.features.warp import warp, warp_batch
from pipeline.imaging import as_images
from pipeline.limits import Limits, class_limits
from pipeline.linear.detection import LinearDetector
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor
from pipeline.nets.backbones import architecture, channels_last, normalise
from pipeline.nets.geometry import Geometry
from pipeline.nets.heads import RegionHead
from pipeline.nets.precision import caching
from pipeline.params import Params
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.detector import FastRcnnDetector
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.systems.faster_rcnn.detector import FasterRcnnDetector
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.training import train_rpn
from pipeline.systems.rcnn.detector import WarpedRegions
from pipeline.systems.rcnn.features import forward
from pipeline.systems.rcnn.finetune import FinetuneBatches
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.systems.sppnet.detector import MappedRegions
from pipeline.systems.sppnet.features import region_features
from pipeline.systems.sppnet.finetune import PooledBatches
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.square_detector import SquareDetector
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.training import train_ssd
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.training import train_yolo
from pipeline.training import Task, classification_loss, parameter_groups, to_device

SEED, OBJECTS, IMAGES = 1, 3, 4
LAYERS = ("pool5", "fc7")


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        params: the preset.
        device: where it is measured.
        shallow: the backbone of R-CNN and SPP-net.
        deep: that of the others; R-CNN's features are measured with both.
        proposals: of an image.
        classes: without the background.
        picture: height and width in pixels; the default is VOC's most frequent size.
        batches: of pictures, for the networks on squares.
    """

    params: Params
    device: torch.device
    shallow: str = "alexnet"
    deep: str = "vgg16"
    proposals: int = 2000
    classes: int = 20
    picture: tuple[int, int] = (375, 500)
    batches: tuple[int, ...] = (1, 8)


@dataclass(frozen=True)
class Work:
    """One line of the table.

    Attributes:
        name: of what is measured.
        run: does it once; the caller waits for the device.
        making_ms: milliseconds in which one core makes the batch of a step; the loader's processes do that ahead.
        phases: does it once more, phase by phase.
    """

    name: str
    run: Callable[[], object]
    making_ms: float | None = None
    phases: Callable[[Clock], object] | None = None


# --- pictures and boxes -------------------------------------------------------------------------------------------


def picture(sizes: Sizes, number: int = 0) -> Image:
    """Return a picture of noise."""
    return np.random.default_rng(number).integers(0, 256, (*sizes.picture, 3), np.uint8)


def drawn(sizes: Sizes, number: int, count: int) -> Boxes:
    """Return ``count`` boxes of a picture, of all sizes from a tenth of its sides on, small ones more often."""
    rng, side = np.random.default_rng(number), np.array(sizes.picture[::-1])
    size = side * np.exp(rng.uniform(np.log(0.1), 0, (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (side - size)
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def images(sizes: Sizes) -> tuple[list[ImageRecord], list[Boxes], ImageCache]:
    """Return images with objects, their proposals, of which some lie near an object, and their pixels."""
    (height, width), records, proposals = sizes.picture, [], []
    for number in range(IMAGES):
        rng, truth = np.random.default_rng(number), drawn(sizes, 100 + number, OBJECTS)
        near = np.repeat(truth, 20, axis=0) + rng.normal(0, 0.02 * width, (20 * OBJECTS, 4))
        near = clip(near.astype(np.float32), width, height)
        boxes = np.concatenate(
            [near[(near[:, 2:] - near[:, :2] > 4).all(axis=1)], drawn(sizes, number, sizes.proposals)]
        )
        labels, clear = rng.integers(1, sizes.classes + 1, OBJECTS), np.zeros(OBJECTS, np.bool_)
        records.append(ImageRecord(number + 1, str(number), width, height, "", truth, labels, clear))
        proposals.append(boxes[: sizes.proposals])
    return records, proposals, _Pictures(sizes)


class _Pictures(ImageCache):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__([], 1024)
        self._sizes = sizes

    def read(self, key: int) -> NDArray[np.uint8]:
        return picture(self._sizes, key)


# --- R-CNN and SPP-net --------------------------------------------------------------------------------------------


def rcnn_features(sizes: Sizes, network: str) -> Iterator[Work]:
    """The regions of one image into the rows of the cache: all of it, then its two halves alone."""
    rcnn = sizes.params.rcnn
    side = 224 if network == "vgg16" else rcnn.region.size
    region = rcnn.region.model_copy(update={"size": side})
    net, boxes = _region_network(sizes, network, side), drawn(sizes, 0, sizes.proposals)
    pixels, batch = _pixels(sizes), net.net.batch(side, sizes.device, "auto")
    into = {layer: np.empty((len(boxes), net.width_of(layer)), rcnn.features.dtype) for layer in LAYERS}
    name = f"R-CNN features, {network}, {len(boxes)} regions of {side}"
    yield Work(name, lambda: forward(net, pixels, boxes, region, into, batch, "auto"))
    yield Work(f"{name}: warping alone", lambda: warp(pixels, boxes, region))
    warped = warp(pixels, boxes, region)

    @torch.inference_mode()
    def network_alone() -> None:
        with caching("auto", sizes.device):
            for part in warped.split(batch):
                net.taps(part, LAYERS)

    yield Work(f"{name}: network alone", network_alone)


def sppnet_features(sizes: Sizes) -> Iterator[Work]:
    """The maps of one image at all scales, and its regions on them through the fc layers."""
    scales, name = sizes.params.sppnet.maps.scales, " x ".join(map(str, reversed(sizes.picture)))
    conv, head = _pyramid(sizes)
    maps, geometry = _maps(sizes, conv), Geometry.from_layers(conv)
    yield Work(
        f"SPP-net maps, {sizes.shallow}, {name} at {len(scales)} scale{'s' if len(scales) > 1 else ''}",
        lambda: _maps(sizes, conv),
    )
    boxes = drawn(sizes, 0, sizes.proposals)

    @torch.inference_mode()
    def heads() -> None:
        region_features(head, maps, boxes, scales, geometry, LAYERS, sizes.device)

    yield Work(f"SPP-net pooling and heads, {len(boxes)} regions", heads)


def _region_network(sizes: Sizes, network: str, side: int) -> RegionNetwork:
    shape = RegionShape(network, side, sizes.params.rcnn.fc_width, sizes.classes + 1)
    return channels_last(RegionNetwork(shape), sizes.device).eval()


def _pyramid(sizes: Sizes) -> tuple[nn.Module, PyramidHead]:
    p, net = sizes.params.sppnet, architecture(sizes.shallow)
    width = net.fc[2] if net.fc else p.fc_width
    window = (p.window.rule, p.window.side, p.pyramid, width, sizes.classes + 1)
    head = PyramidHead(PyramidShape(net.name, "", net.channels, *window))
    return channels_last(net.conv(), sizes.device).eval(), head.to(sizes.device).eval()


def _maps(sizes: Sizes, conv: nn.Module, number: int = 0) -> ImageMaps:
    size = sizes.picture[::-1]
    input_hw, factors, hw = map_sizes([size], sizes.params.sppnet.maps.scales, Geometry.from_layers(conv))
    pixels = _pixels(sizes, number)
    return ImageMaps([map_cells(conv, pixels, sides, "auto") for sides in input_hw.tolist()], hw, factors)


def _pixels(sizes: Sizes, number: int = 0) -> torch.Tensor:
    return normalise(torch.from_numpy(picture(sizes, number)).to(sizes.device).permute(2, 0, 1))


# --- an image at test ---------------------------------------------------------------------------------------------


def test_rcnn(sizes: Sizes) -> Iterator[Work]:
    """R-CNN: warp, network, SVMs, box regression, suppression."""
    p, rcnn = sizes.params, sizes.params.rcnn
    network = _region_network(sizes, sizes.shallow, rcnn.region.size)
    sections = {"proposals": p.proposals, "region": rcnn.region, "features": rcnn.features, "detect": rcnn.detect}
    description = Description.of("rcnn", _names(sizes), **sections, limits=_limits(sizes, rcnn))
    source = WarpedRegions(description, network, sizes.device)
    yield _linear(sizes, f"R-CNN, {sizes.shallow}", description, source, network, rcnn)


def test_sppnet(sizes: Sizes) -> Iterator[Work]:
    """SPP-net: maps, pooling, fc layers, SVMs, box regression, suppression."""
    p, sppnet = sizes.params, sizes.params.sppnet
    sections = {"proposals": p.proposals, "maps": sppnet.maps, "detect": sppnet.detect}
    description = Description.of("sppnet", _names(sizes), **sections, limits=_limits(sizes, sppnet))
    conv, head = _pyramid(sizes)
    source = MappedRegions(description, conv, head, sizes.device)
    yield _linear(sizes, f"SPP-net, {sizes.shallow}", description, source, head, sppnet)


def _limits(sizes: Sizes, section: Any) -> Limits:
    """Return the limits for images with few objects of each class, such as VOC's."""
    images = [Index(tuple(_names(sizes)), ())]
    return class_limits(section.detect.max_per_class, section.detect.per_class_budget, images, "detect")


def _linear(sizes: Sizes, title: str, description: Description, source: Any, head: RegionHead, section: Any) -> Work:
    """Return the work of a detector with linear models, whose proposals are drawn instead of searched."""
    rng, boxes = np.random.default_rng(SEED), drawn(sizes, 0, sizes.proposals)

    def model(outputs: int, layer: str) -> LinearModel:
        weights = rng.normal(0, 1e-6, (outputs, head.width_of(layer))).astype(np.float32)
        return LinearModel(weights, np.zeros(outputs, np.float32), 1.0, layer)

    svm = model(sizes.classes, section.svm.layer)
    regressor = BoxRegressor(model(4 * sizes.classes, section.bbox.layer))
    detector = LinearDetector(description, svm, regressor, source)
    searching = f"pipeline.systems.{description.system}.detector.propose"
    return _detecting(sizes, title, detector, lambda: mock.patch(searching, return_value=boxes))


def test_fast_rcnn(sizes: Sizes) -> Iterator[Work]:
    """Fast R-CNN: one map, RoI pooling, scores and boxes, suppression."""
    p, boxes = sizes.params.fast_rcnn, drawn(sizes, 0, sizes.proposals)
    description = Description.of("fast_rcnn", _names(sizes), detect=p.detect, limits=_limits(sizes, p))
    proposals = ProposalSet.join([boxes], [0], "drawn", {})
    detector = FastRcnnDetector(description, _fast_rcnn(sizes, p).eval(), sizes.device, proposals)
    yield _detecting(sizes, f"Fast R-CNN, {sizes.deep}", detector)


def test_faster_rcnn(sizes: Sizes) -> Iterator[Work]:
    """Faster R-CNN: one map, its own proposals, then as Fast R-CNN."""
    p = sizes.params.faster_rcnn
    rpn, network = _rpn(sizes).eval(), _fast_rcnn(sizes, p).eval()
    network.conv.load_state_dict(rpn.conv.state_dict())
    description = Description.of("faster_rcnn", _names(sizes), detect=p.detect)
    detector = FasterRcnnDetector(description, rpn, network, sizes.device)
    yield _detecting(sizes, f"Faster R-CNN, {sizes.deep}", detector)


def test_yolo(sizes: Sizes) -> Iterator[Work]:
    """YOLO: the network and its detector, for one picture and for several at once."""
    yield from _squares(sizes, "YOLO", "yolo", _yolo(sizes))


def test_ssd(sizes: Sizes) -> Iterator[Work]:
    """SSD, likewise."""
    yield from _squares(sizes, "SSD", "ssd", _ssd(sizes))


def _squares(sizes: Sizes, title: str, system: str, network: Any) -> Iterator[Work]:
    description = Description.of(system, _names(sizes), detect=getattr(sizes.params, system).detect)
    detector = SquareDetector(description, network, network.decode, network.shape.side, sizes.device)
    side = network.shape.side
    for number in sizes.batches:
        yield _detecting(sizes, f"{title}, {side} x {side}", detector, batch=number)
        squares = as_images([np.zeros((side, side, 3), np.uint8)] * number).to(sizes.device)
        alone = torch.inference_mode()(partial(network, squares))
        yield Work(f"{title}, {side} x {side}, network alone, batch {number}", alone)


def _detecting(
    sizes: Sizes, title: str, detector: Detector, around: Callable[[], Any] = nullcontext, batch: int = 1
) -> Work:
    pictures = [picture(sizes, number) for number in range(batch)]

    def detect(clock: Clock | None = None) -> None:
        with around():
            detector.detect(pictures, *([clock] if clock else []), at_once=batch)

    many = "an image" if batch == 1 else f"batch {batch}"
    return Work(f"{title}, at test, {many}", detect, phases=detect)


def _names(sizes: Sizes) -> list[str]:
    return [f"class {number}" for number in range(1, sizes.classes + 1)]


def _fast_rcnn(sizes: Sizes, section: Any) -> FastRcnn:
    shape = FastRcnnShape.from_params(sizes.deep, section.grid, section.fc_width, sizes.classes, section.image)
    return FastRcnn(shape)


def _rpn(sizes: Sizes) -> RegionProposalNetwork:
    p = sizes.params.faster_rcnn
    return RegionProposalNetwork(RpnShape.from_params(sizes.deep, p.rpn_width, p.anchors, p.image))


def _yolo(sizes: Sizes) -> Yolo:
    p = sizes.params.yolo
    shape = YoloShape.from_params("extraction", p.side, p.boxes, sizes.classes, p.head)
    return Yolo(shape, p.train.dropout)


def _ssd(sizes: Sizes) -> Ssd:
    p = sizes.params.ssd
    shape = SsdShape.from_params(sizes.deep, sizes.classes, p.side, p.taps, p.extra, p.l2_scale, p.default_boxes)
    return Ssd(shape)


# --- a training step ----------------------------------------------------------------------------------------------


def train_rcnn(sizes: Sizes) -> Iterator[Work]:
    """R-CNN's fine-tuning: regions of several images, warped on the device."""
    p = sizes.params.rcnn
    records, proposals, pixels = images(sizes)
    batches = FinetuneBatches(*label_proposals(records, proposals, p.finetune), pixels, p.finetune, p.region.size, SEED)
    network = _region_network(sizes, sizes.shallow, p.region.size)
    task = Task(network, lambda model, batch: classification_loss(model, warp_batch(batch, p.region, sizes.device)))
    many = p.finetune.foreground + p.finetune.background
    yield from _steps(sizes, f"R-CNN, {sizes.shallow}, {many} regions", task, batches, p.finetune.schedule)


@dataclass(frozen=True)
class _HeldMaps:
    """What `PooledBatches` reads of a cache of maps, in memory."""

    maps: list[ImageMaps]
    scales: tuple[int, ...]

    @property
    def hw(self) -> NDArray[np.int64]:
        return np.stack([each.hw for each in self.maps])

    @property
    def factors(self) -> NDArray[np.float64]:
        return np.stack([each.factors for each in self.maps])

    def cells(self, image: int, scale: int) -> Any:
        return self.maps[image].cells[scale].cpu().half().numpy()  # type: ignore[union-attr]


def train_sppnet(sizes: Sizes) -> Iterator[Work]:
    """SPP-net's fine-tuning: windows of held maps, pooled, through the fc layers."""
    p, (records, proposals, _) = sizes.params.sppnet, images(sizes)
    conv, head = _pyramid(sizes)
    held: Any = _HeldMaps([_maps(sizes, conv, number) for number in range(IMAGES)], p.maps.scales)
    draw = RegionSampler(*label_proposals(records, proposals, p.finetune), p.finetune, "sppnet_finetune")
    net = architecture(sizes.shallow)
    batches = PooledBatches(held, draw, net, p.window, p.pyramid, seed=SEED, purpose="train", megabytes=1024)
    task = Task(head, lambda model, batch: classification_loss(model, batch.labelled()))
    many = p.finetune.foreground + p.finetune.background
    yield from _steps(sizes, f"SPP-net, {sizes.shallow}, {many} windows", task, batches, p.finetune.schedule)


def train_fast_rcnn(sizes: Sizes) -> Iterator[Work]:
    """Fast R-CNN; the first round of Faster R-CNN's detector is the same."""
    p, network = sizes.params.fast_rcnn, _fast_rcnn(sizes, sizes.params.fast_rcnn)
    records, proposals, pixels = images(sizes)
    frozen = network.early_layers(p.train.frozen_layers)
    more = {"new": ("scores", "offsets"), "frozen": frozen, "title": ""}
    given = _given(sizes, train_detector, network, records, proposals, pixels, p.train, **more)
    name = f"Fast R-CNN, {sizes.deep}, {p.train.batch} images, {p.train.batch * p.train.regions} regions"
    yield from _steps(sizes, name, *given)


def train_faster_rcnn(sizes: Sizes) -> Iterator[Work]:
    """Faster R-CNN's proposal network, first round."""
    p, network = sizes.params.faster_rcnn.rpn, _rpn(sizes)
    records, _, pixels = images(sizes)
    frozen = network.early_layers(p.frozen_layers)
    given = _given(sizes, train_rpn, network, records, pixels, p, frozen=frozen, title="")
    yield from _steps(
        sizes, f"Faster R-CNN, proposals, {sizes.deep}, {p.batch} image{'s' if p.batch > 1 else ''}", *given
    )


def train_single_shot(sizes: Sizes, system: str) -> Iterator[Work]:
    """YOLO or SSD."""
    yolo = system == "yolo"
    network, train = (_yolo(sizes), train_yolo) if yolo else (_ssd(sizes), train_ssd)
    p, (records, _, pixels) = getattr(sizes.params, system).train, images(sizes)
    side = network.shape.side
    given = _given(sizes, train, network, records, pixels, p, caller="pipeline.systems.square_training")
    yield from _steps(sizes, f"{'YOLO' if yolo else 'SSD'}, {side} x {side}, {p.batch} images", *given)


class _StopError(Exception):
    pass


def _given(
    sizes: Sizes, train: Callable[..., None], *args: Any, caller: str = "", **more: Any
) -> tuple[Task, Any, Schedule]:
    """Return what a system's training hands to the loop, task, batches and schedule; the loop does not run.

    ``caller`` is the module that calls the loop, by default that of ``train``.
    """
    handed: list[tuple[Task, Any, Schedule]] = []

    def loop(task: Task, batches: Any, schedule: Schedule, **_: Any) -> None:
        handed.append((task, batches, schedule))
        raise _StopError

    where = {"scratch": Path(), "seed": SEED, "device": sizes.device, "workers": 0}
    with mock.patch(f"{caller or train.__module__}.train", loop), suppress(_StopError):
        train(*args, **where, **more)
    return handed[0]


def _steps(sizes: Sizes, title: str, task: Task, batches: Any, schedule: Schedule) -> Iterator[Work]:
    """Yield a training step as `pipeline.training.train` does it, and on a GPU two that compute with fewer bits.

    The loop around it (Fabric, curves, checkpoints) is left out, and the rate is near 0: random weights must not grow
    to infinity, and a step takes as long at any rate.
    """
    network, device = task.network.train(), sizes.device
    sgd = torch.optim.SGD(parameter_groups(task, schedule), lr=schedule.lr, momentum=schedule.momentum)
    for group in sgd.param_groups:
        group["lr"] = 1e-12
    batches(0)  # decodes the pictures
    start = perf_counter()
    made = [batches(1), batches(2)]
    making = 1e3 * (perf_counter() - start) / len(made)
    numbers = count()

    def step(around: Callable[[], Any] = nullcontext) -> None:
        with around():
            losses = task.losses(network, to_device(made[next(numbers) % len(made)], device))
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        torch.isfinite(total).item()
        sgd.zero_grad()
        total.backward()
        sgd.step()

    yield Work(f"{title}, training step", step, making)
    if device.type != "cuda":
        return
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield Work(f"{title}, training step, tried: TF32 everywhere", step)
    finally:
        torch.set_float32_matmul_precision(precision)
    half = partial(torch.autocast, device.type, torch.bfloat16)
    yield Work(f"{title}, training step, tried: bfloat16", lambda: step(half))


PARTS: dict[str, Callable[[Sizes], Iterator[Work]]] = {
    "rcnn_features": lambda sizes: rcnn_features(sizes, sizes.shallow),
    "rcnn_features_deep": lambda sizes: rcnn_features(sizes, sizes.deep),
    "sppnet_features": sppnet_features,
    "test_rcnn": test_rcnn,
    "test_sppnet": test_sppnet,
    "test_fast_rcnn": test_fast_rcnn,
    "test_faster_rcnn": test_faster_rcnn,
    "test_yolo": test_yolo,
    "test_ssd": test_ssd,
    "train_rcnn": train_rcnn,
    "train_sppnet": train_sppnet,
    "train_fast_rcnn": train_fast_rcnn,
    "train_faster_rcnn": train_faster_rcnn,
    "train_yolo": lambda sizes: train_single_shot(sizes, "yolo"),
    "train_ssd": lambda sizes: train_single_shot(sizes, "ssd"),
}
"""By name, most wanted first: what the time does not reach stays unmeasured."""
