"""How time and memory grow with images, regions, classes and detections, and what that means for large datasets.

    python -m benchmarks.scaling --write docs/scaling.md

Each probe runs a stage's own function on generated data of three sizes, fits a straight line, and so gives the cost of
one more image (or region, class, detection). Seconds are processor seconds of one core, memory is that of NumPy and
Python at its peak. The command replaces the text between the two marks in docs/scaling.md and draws the figure beside
it; without ``--write`` it prints the text. What the slopes do not give, the arithmetic of the networks, is counted;
`benchmarks.gpu` measures how fast a GPU does it.
`--small` runs each probe on data that is too small to say anything, in seconds.
"""

import argparse
import re
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.gpu import arithmetic
from benchmarks.gpu_parts import drawn
from pipeline.core.boxes import Boxes
from pipeline.core.sections import BoxRegression, Detection, Proposals, Region, Svm
from pipeline.data.digits import load_photographs
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Description, detect_split
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.measures import MEASURES
from pipeline.evaluation.metrics import metrics, rankings
from pipeline.features.maps import cache_maps, entries, map_sizes
from pipeline.features.regions import gather
from pipeline.limits import class_limits
from pipeline.linear.detection import CachedRegions, LinearDetector
from pipeline.linear.model import LinearModel
from pipeline.linear.ridge import BoxRegressor, train_box_regressors
from pipeline.linear.svm import train_svms
from pipeline.linear.training_set import TrainingSet
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.proposals.engines import propose
from pipeline.systems.fast_rcnn.params import ImageSize, RegionTraining
from pipeline.systems.fast_rcnn.targets import label_regions
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.params import Anchors, RpnTraining
from pipeline.systems.faster_rcnn.targets import AnchorBatches
from pipeline.systems.rcnn.features import cache_regions
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.systems.square_batches import SquareBatches
from pipeline.systems.yolo.params import YoloAugmentation
from pipeline.systems.yolo.training import YoloAugment
from pipeline.timing import surroundings

CPU = torch.device("cpu")
PICTURE = (375, 500)  # VOC's most frequent size
SCALES = (480, 576, 688, 864, 1200)
OBJECTS = 3
START, END = "<!-- measured by benchmarks.scaling -->", "<!-- end -->"


@dataclass(frozen=True)
class Scale:
    """What is fixed while one number grows, and how small all sizes are made.

    Attributes:
        divide: every size of a probe by this.
        network: of the feature probes.
        side: of its regions.
        regions: of an image.
        width: of a region's features where a probe makes them up.
        scales: of the maps.
        short: side of the images of the proposal network.
    """

    divide: int = 1
    network: str = "alexnet"
    side: int = 227
    regions: int = 2000
    width: int = 1024
    scales: tuple[int, ...] = SCALES
    short: int = 600


SMALL = Scale(divide=20, network="small", side=48, regions=30, width=16, scales=(64,), short=96)


@dataclass(frozen=True)
class Probe:
    """One stage's cost against one number.

    Attributes:
        title: the stage.
        unit: what grows.
        sizes: three of them.
        prepare: makes data of a size and returns what is timed.
    """

    title: str
    unit: str
    sizes: tuple[int, int, int]
    prepare: Callable[[Scale, int], Callable[[], object]]

    @property
    def units(self) -> str:
        """Return the unit in the plural."""
        return self.unit + ("es" if self.unit.endswith("s") else "s")


@dataclass(frozen=True)
class Fit:
    """A probe's measurements and their line.

    Attributes:
        probe: what was measured.
        sizes: as measured.
        seconds: processor seconds at each size.
        slope: seconds for one more.
        intercept: seconds at size 0.
        r2: share of the variance that the line explains.
        bytes_each: of memory for one more, from the peaks at the greatest and the least size; torch's is not in it.
    """

    probe: Probe
    sizes: list[int]
    seconds: list[float]
    slope: float
    intercept: float
    r2: float
    bytes_each: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the page whose text between the marks is replaced")
    parser.add_argument("--figure", type=Path, help="the SVG file (images/scaling.svg beside the page)")
    parser.add_argument("--small", action="store_true", help="a trial in seconds")
    parser.add_argument("--only", nargs="+", help="words in the titles of the probes")
    parser.add_argument("--tflops", type=float, default=100, help="assumed speed of a GPU (100)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scale = SMALL if options.small else Scale()
    chosen = [p for p in PROBES if not options.only or any(word in p.title for word in options.only)]
    fits = [measure(probe, scale) for probe in chosen]
    where = surroundings(CPU)
    found = f"One core of {where['device_name']}, torch {where['torch']}, OpenCV {where['opencv']}.\n\n" + fit_table(
        fits
    )
    if len(fits) == len(PROBES):
        found += "\n\n" + datasets_table(fits, scale, options.tflops)
    figure = options.figure or (options.write and options.write.parent / "images" / "scaling.svg")
    if figure:
        draw(fits, figure)
    if options.write:
        text = options.write.read_text(encoding="utf-8")
        options.write.write_text(put_between(text, found), encoding="utf-8")
    else:
        print(found)


def put_between(text: str, found: str) -> str:
    """Return ``text`` with ``found`` between the two marks."""
    return re.sub(f"(?s){START}.*{END}", lambda _: f"{START}\n\n{found}\n\n{END}", text)


def measure(probe: Probe, scale: Scale) -> Fit:
    """Run a probe at its three sizes: the faster of two runs where these are short, and once more for the memory."""
    sizes = [max(1, size // scale.divide) + (scale.divide > 1) * k for k, size in enumerate(probe.sizes)]
    probe.prepare(scale, sizes[0])()  # imports, and whatever else comes once
    seconds, peaks = [], []
    for size in sizes:
        seconds.append(_processor_seconds(probe.prepare(scale, size)))
        if seconds[-1] < 1:
            seconds[-1] = min(seconds[-1], _processor_seconds(probe.prepare(scale, size)))
        print(f"{probe.title}, {size} {probe.units}: {seconds[-1]:.3f} s", flush=True, file=sys.stderr)
    for size in (sizes[0], sizes[-1]):
        run = probe.prepare(scale, size)
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return Fit(probe, sizes, seconds, *line(sizes, seconds), (peaks[1] - peaks[0]) / (sizes[-1] - sizes[0]))


def _processor_seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Return slope, intercept and R squared of the least-squares line; R squared of a constant ``y`` is 1."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (slope * np.asarray(x) + intercept)
    spread = float(((np.asarray(y) - np.mean(y)) ** 2).sum())
    return float(slope), float(intercept), 1 - float((rest**2).sum()) / spread if spread else 1.0


# --- generated data -----------------------------------------------------------------------------------------------


def photographs(count: int) -> list[NDArray[np.uint8]]:
    """Return ``count`` photographs of `PICTURE`, cut from those that come with scikit-image and scikit-learn."""
    sources, (height, width) = load_photographs(), PICTURE
    return [np.asarray(sources[number % len(sources)].resize((width, height))) for number in range(count)]


def boxes_of(number: int, count: int) -> Boxes:
    """Return ``count`` random boxes of a picture."""
    return drawn(_Picture(PICTURE), number, count)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Picture:
    picture: tuple[int, int]


def index_of(images: int, classes: int) -> Index:
    """Return an index of made-up images with three objects each."""
    height, width = PICTURE
    return Index(
        tuple(f"class {number}" for number in range(1, classes + 1)),
        tuple(
            ImageRecord(
                number + 1, f"{number}.jpg", width, height, "", boxes_of(10_000 + number, OBJECTS),
                (np.arange(OBJECTS) + number) % classes + 1, np.zeros(OBJECTS, np.bool_),
            )
            for number in range(images)
        ),
    )  # fmt: skip


class Held:
    """Features in memory, as `pipeline.features.regions.RegionFeatures`: objects of a class are alike, others not."""

    path = Path("held in memory")

    def __init__(self, index: Index, regions: int, width: int) -> None:
        near = [np.repeat(image.boxes, 10, axis=0) for image in index.images]
        near = [
            boxes + np.random.default_rng(i).normal(0, 2, boxes.shape).astype(np.float32)
            for i, boxes in enumerate(near)
        ]
        rest = [boxes_of(number, max(1, regions - 10 * OBJECTS)) for number in range(len(index.images))]
        proposals = [np.concatenate(pair) for pair in zip(near, rest, strict=True)]
        ids, files = [image.id for image in index.images], [Path(image.file) for image in index.images]
        all_regions = gather(ids, files, [image.boxes for image in index.images], proposals)
        self.offsets, self.image_ids = all_regions.offsets, all_regions.image_ids
        self._tables = all_regions.tables()
        rng = np.random.default_rng(1)
        values = rng.standard_normal((len(all_regions.boxes), width), np.float32)
        for image, start in zip(index.images, self.offsets[:-1].tolist(), strict=True):
            labels = np.concatenate([image.labels, np.repeat(image.labels, 10)])
            values[start + np.arange(len(labels)), labels % width] += 4
        self._values = np.maximum(values, 0).astype(np.float16)

    def __len__(self) -> int:
        return len(self.image_ids)

    def table(self, name: str) -> NDArray:
        """Return boxes or marks of all rows."""
        return self._tables[name]

    def rows(self, position: int, layer: str, which: NDArray[np.int64]) -> NDArray:
        """Return the features of some regions of one image."""
        return self._values[self.offsets[position] + which]

    def image(self, position: int, layer: str) -> NDArray:
        """Return the features of all regions of one image."""
        return self._values[self.offsets[position] : self.offsets[position + 1]]

    def images(self, layer: str) -> Iterator[tuple[int, NDArray]]:
        """Yield the features image by image."""
        return ((position, self.image(position, layer)) for position in range(len(self)))


def training_set(scale: Scale, images: int, classes: int) -> TrainingSet:
    """Return made-up features beside their index; a sixth of the regions, for the time."""
    index = index_of(images, classes)
    return TrainingSet([Held(index, scale.regions // 6, scale.width)], [index])


# --- the probes ---------------------------------------------------------------------------------------------------


def _proposals(scale: Scale, images: int) -> Callable[[], object]:
    pictures = photographs(images)
    settings = Proposals(engine="opencv", max_per_image=scale.regions, min_side=20)
    return lambda: [propose(picture, settings) for picture in pictures]


def _rcnn_features(scale: Scale, regions: int) -> Callable[[], object]:
    torch.manual_seed(0)
    network = RegionNetwork(RegionShape(scale.network, scale.side, 64, 0))
    region, batch = Region(size=scale.side, padding=scale.side // 14), network.net.batch(scale.side, CPU)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            (file,) = _files(folder, 1)
            empty = np.zeros((0, 4), np.float32)
            where: dict[str, Any] = {"place": Path(folder), "device": CPU, "workers": 1, "attributes": {}, "title": ""}
            cache_regions(
                gather([1], [file], [empty], [boxes_of(0, regions)]), network, region, ("pool5", "fc7"),
                dtype="float16", shard_mb=64, batch=batch, precision="auto", **where,
            )  # fmt: skip

    return run


def _sppnet_maps(scale: Scale, images: int) -> Callable[[], object]:
    net = architecture(scale.network)
    conv = net.conv()

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            sizes = [PICTURE[::-1]] * images
            layout = entries(range(images), _files(folder, images), sizes, scale.scales, Geometry.from_layers(conv))
            where: dict[str, Any] = {"place": Path(folder), "device": CPU, "workers": 1, "attributes": {}, "title": ""}
            cache_maps(layout, conv, net.channels, dtype="float16", shard_mb=64, precision="auto", **where)

    return run


def _files(folder: str, count: int) -> list[Path]:
    files = [Path(folder, f"{number}.jpg") for number in range(count)]
    for file, picture in zip(files, photographs(count), strict=True):
        Image.fromarray(picture).save(file)
    return files


def _svm(scale: Scale, images: int, classes: int) -> Callable[[], object]:
    regions = training_set(scale, images, classes)
    return lambda: train_svms(regions, Svm(), seed=1, workers=1)


def _ridge(scale: Scale, images: int, classes: int) -> Callable[[], object]:
    regions = training_set(scale, images, classes)
    return lambda: train_box_regressors(regions, BoxRegression(), [1000], seed=1)


def _detect(scale: Scale, images: int, classes: int) -> Callable[[], object]:
    index, rng = index_of(images, classes), np.random.default_rng(0)
    weights = rng.normal(0, 1e-3, (5, classes, scale.width)).astype(np.float32)
    svm = LinearModel(weights[0], np.zeros(classes, np.float32), 1.0, "fc7")
    offsets = LinearModel(1e-3 * weights[1:].reshape(-1, scale.width), np.zeros(4 * classes, np.float32), 1.0, "pool5")
    detect = Detection()
    limits = class_limits(detect.max_per_class, detect.per_class_budget, [index], "detect")
    description = Description.of("rcnn", index.classes, detect=detect, limits=limits)
    source = CachedRegions(Held(index, scale.regions, scale.width), index)
    detector = LinearDetector(description, svm, BoxRegressor(offsets), source)
    return lambda: detect_split(detector, index, Path(), 1)


def _labels(scale: Scale, images: int) -> Callable[[], object]:
    records = index_of(images, 20).images
    proposals, kept = [boxes_of(number, scale.regions) for number in range(images)], []
    return lambda: kept.extend(map(label_regions, records, proposals, [RegionTraining()] * images))


def _anchors(scale: Scale, images: int) -> Callable[[], object]:
    anchors = Anchors(sides=(128, 256, 512), ratios=(0.5, 1, 2)) if scale.divide == 1 else Anchors()
    size = ImageSize(short_sides=(scale.short,), long_side=2 * scale.short)
    network = RegionProposalNetwork(RpnShape.from_params("vgg16" if scale.divide == 1 else "small", 16, anchors, size))
    records = index_of(images, 20).images
    return lambda: AnchorBatches(records, ImageCache([], 1), network, RpnTraining(), seed=1)


class _OnePicture(ImageCache):
    def read(self, key: int) -> NDArray[np.uint8]:
        return _picture()


@cache
def _picture() -> NDArray[np.uint8]:
    return photographs(1)[0]


def _batches(scale: Scale, images: int) -> Callable[[], object]:
    records = index_of(images, 20).images
    augment = YoloAugment(160, YoloAugmentation())
    batches = SquareBatches(
        records, _OnePicture([], 1), augment, side=160, per_step=8, difficult=False, seed=1
    )  # fmt: skip
    return lambda: [batches(step) for step in range(5)]


def _evaluation(scale: Scale, count: int) -> Callable[[], object]:
    index = index_of(max(4, 100 // scale.divide), 20)
    found = _detections(index, count)
    return lambda: metrics(index, found, rankings(index, found, 0.5), {}, 0.5)


def _bootstrap(scale: Scale, images: int) -> Callable[[], object]:
    index = index_of(images, 20)
    found = _detections(index, 40 * images)
    return lambda: MEASURES["detect"].intervals(index, found, 0.5, samples=1000 // scale.divide, level=0.95, seed=1)


def _detections(index: Index, count: int) -> Detections:
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(1, len(index.images) + 1, count), rng.integers(1, len(index.classes) + 1, count)
    return Detections(ids, labels, boxes_of(1, count), rng.random(count, np.float32))


PROBES = (
    Probe("proposals", "image", (1, 2, 4), _proposals),
    Probe("R-CNN features", "region", (32, 64, 128), _rcnn_features),
    Probe("SPP-net maps", "image", (1, 2, 3), _sppnet_maps),
    Probe("SVMs by images", "image", (20, 40, 80), lambda scale, n: _svm(scale, n, 4)),
    Probe("SVMs by classes", "class", (4, 8, 16), lambda scale, n: _svm(scale, 40 // scale.divide, n)),
    Probe("box regression by images", "image", (20, 40, 80), lambda scale, n: _ridge(scale, n, 4)),
    Probe("box regression, ten images a class", "class", (4, 8, 16), lambda scale, n: _ridge(scale, 10 * n, n)),
    Probe("detection by images", "image", (4, 8, 16), lambda scale, n: _detect(scale, n, 20)),
    Probe("detection by classes", "class", (10, 20, 40), lambda scale, n: _detect(scale, 8, n)),
    Probe("Fast R-CNN's labels", "image", (100, 200, 400), _labels),
    Probe("anchors' statistics", "image", (4, 8, 16), _anchors),
    Probe("five batches of YOLO, out of", "image", (500, 1000, 2000), _batches),
    Probe("evaluation", "detection", (2000, 4000, 8000), _evaluation),
    Probe("intervals", "image", (100, 200, 400), _bootstrap),
)


# --- what follows -------------------------------------------------------------------------------------------------


def fit_table(fits: Sequence[Fit]) -> str:
    """Return the lines of all probes as Markdown."""
    lines = [
        "| stage | sizes | seconds | s for one more | at 0, s | R^2 | memory for one more |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for fit in fits:
        sizes, seconds = ", ".join(map(str, fit.sizes)), ", ".join(f"{value:.3g}" for value in fit.seconds)
        name = f"{fit.probe.title}, {fit.probe.units}"
        more = f"{fit.slope:.2g} | {fit.intercept:.2g} | {fit.r2:.3f} | {amount(fit.bytes_each)}"
        lines.append(f"| {name} | {sizes} | {seconds} | {more} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Dataset:
    """Images that are trained on and tested on, and classes."""

    name: str
    train: int
    test: int
    classes: int


DATASETS = (
    Dataset("VOC07", 5011, 4952, 20),
    Dataset("COCO 2017", 118_287, 5000, 80),
    Dataset("a million images", 1_000_000, 5000, 80),
)
# Shares that zstd left of the default's caches (float16, rectified): pool5 and fc7 of R-CNN, SPP-net's cells.
ZSTD = {"pool5": 0.38, "fc7": 0.46, "cells": 0.36}
POOL5, FC7, CHANNELS, REGIONS = 9216, 4096, 256, 2000


def datasets_table(fits: Sequence[Fit], scale: Scale, tflops: float) -> str:
    """Return disk, memory and hours for each of `DATASETS` as Markdown."""
    by = {fit.probe.title: fit for fit in fits}
    hw = map_sizes([PICTURE[::-1]], SCALES, Geometry.from_architecture(architecture("alexnet")))[2]
    map_bytes = int(hw.prod(axis=1).sum()) * CHANNELS * 2
    region_flops, map_flops = _flops()
    larger = FC7 / scale.width * 6  # than the made-up features: their width, and six times the regions

    def cell(dataset: Dataset, what: str) -> str:
        images, rows = dataset.train + dataset.test, (dataset.train + dataset.test) * REGIONS
        share = (ZSTD["pool5"] * POOL5 + ZSTD["fc7"] * FC7) / (POOL5 + FC7)
        detection = by["detection by images"].slope * dataset.classes / 20
        values = {
            "disk": {
                "proposals": rows * 16,
                "R-CNN features, raw": rows * 2 * (POOL5 + FC7),
                "R-CNN features, after zstd": rows * 2 * (POOL5 + FC7) * share,
                "SPP-net maps, raw": images * map_bytes,
                "SPP-net maps, after zstd": images * map_bytes * ZSTD["cells"],
            },
            "memory": {
                "proposals of the training images": dataset.train * REGIONS * 16,
                "Fast R-CNN's labelled regions": dataset.train * by["Fast R-CNN's labels"].bytes_each,
                "negatives of all SVMs": dataset.classes * 20_000 * FC7 * 2,
            },
            "core hours": {
                "proposals": images * by["proposals"].slope,
                "R-CNN features on a CPU": rows * by["R-CNN features"].slope,
                "SPP-net maps on a CPU": images * by["SPP-net maps"].slope,
                "SVMs": dataset.train * by["SVMs by images"].slope * dataset.classes / 4 * larger,
                "Fast R-CNN's labels": dataset.train * by["Fast R-CNN's labels"].slope,
                "anchors' statistics": dataset.train * by["anchors' statistics"].slope,
                "detection from cached features": dataset.test * detection * FC7 / scale.width,
                "intervals": dataset.test * by["intervals"].slope * dataset.classes / 20,
            },
            "GPU hours": {
                "R-CNN features": rows * region_flops / tflops / 1e12,
                "SPP-net maps": images * map_flops / tflops / 1e12,
            },
        }
        kind, name = what.split(": ")
        value = values[kind][name]
        return amount(value) if kind in ("disk", "memory") else hours(value)

    names = {
        "disk": (
            "proposals", "R-CNN features, raw", "R-CNN features, after zstd", "SPP-net maps, raw",
            "SPP-net maps, after zstd",
        ),
        "memory": ("proposals of the training images", "Fast R-CNN's labelled regions", "negatives of all SVMs"),
        "core hours": (
            "proposals", "R-CNN features on a CPU", "SPP-net maps on a CPU", "SVMs", "Fast R-CNN's labels",
            "anchors' statistics", "detection from cached features", "intervals",
        ),
        "GPU hours": ("R-CNN features", "SPP-net maps"),
    }  # fmt: skip
    heading = ["", "", *(f"{each.name}: {each.train:,} + {each.test:,}, {each.classes} classes" for each in DATASETS)]
    lines = [f"| {' | '.join(heading)} |", "|---|---|" + "---:|" * len(DATASETS)]
    for kind, each in names.items():
        shown = f"{kind} at {tflops:g} TFLOP/s" if kind == "GPU hours" else kind
        lines += [f"| {shown} | {name} | {' | '.join(cell(d, f'{kind}: {name}') for d in DATASETS)} |" for name in each]
    return "\n".join(lines) + (
        f"\n\nCounted: {region_flops / 1e9:.2f} GFLOP a region (AlexNet, 227 pixels, to fc7), {map_flops / 1e9:.0f} "
        f"GFLOP and {amount(map_bytes)} of float16 cells an image of 500 x 375 (AlexNet, five scales)."
    )


def _flops() -> tuple[float, float]:
    """Return the FLOPs of one region through AlexNet and of one image's maps; on the meta device, nothing computes."""
    with torch.device("meta"):
        network = RegionNetwork(RegionShape("alexnet", 227, 64, 0)).eval()
        conv = network.conv
        with torch.inference_mode(), arithmetic(CPU) as region:
            network.taps(torch.zeros(1, 3, 227, 227), ("fc7",))
        with torch.inference_mode(), arithmetic(CPU) as maps:
            for height, width in map_sizes([PICTURE[::-1]], SCALES, Geometry.from_layers(conv))[0].tolist():
                conv(torch.zeros(1, 3, height, width))
    return float(sum(region.flops.values())), float(sum(maps.flops.values()))


def amount(count: float) -> str:
    """Return bytes as text, in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def hours(seconds: float) -> str:
    """Return seconds as hours, three digits of them or all."""
    value = seconds / 3600
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(fits: Sequence[Fit], file: Path) -> None:
    """Draw each probe's measurements and line as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(fits) // columns)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "boxline", "font.size": 8}):
        figure = Figure(figsize=(10, 2.1 * rows), layout="constrained")
        for axes, fit in zip(figure.subplots(rows, columns, squeeze=False).flat, fits, strict=False):
            ends = np.array([0, fit.sizes[-1]])
            axes.plot(ends, fit.slope * ends + fit.intercept, color="#9aa1ad")
            axes.plot(fit.sizes, fit.seconds, "o", color="#2f6fed")
            axes.set(title=fit.probe.title, xlabel=f"{fit.probe.units}", ylabel="s", ylim=(0, None))
        for axes in figure.axes[len(fits) :]:
            axes.remove()
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
