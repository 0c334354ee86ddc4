"""Untrained models of all systems on disk, each beside what it detects in a split with caches or proposals on disk."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.sections import Hog
from pipeline.core.storage import fingerprint
from pipeline.data.images import read_image
from pipeline.data.index import Index
from pipeline.detector import Description, Detector, detect_split
from pipeline.evaluation.detections import Detections
from pipeline.features.cache import FeatureCache
from pipeline.features.hog_pyramid import WindowShape, cache_pyramids, descriptor_of, pyramid_entries
from pipeline.features.maps import MapCache, cache_maps, entries, maps_origin
from pipeline.features.regions import RegionFeatures, gather
from pipeline.limits import class_limits
from pipeline.linear.detection import CachedRegions, LinearDetector
from pipeline.linear.model import LinearModel
from pipeline.linear.pyramid_source import CachedPyramids
from pipeline.linear.ridge import BoxRegressor
from pipeline.linear.templates import Component
from pipeline.linear.windows import Filter
from pipeline.nets import weights
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.proposals.engines import propose
from pipeline.proposals.store import ProposalSet
from pipeline.systems.bow.cache import WordCache, cache_words
from pipeline.systems.bow.detector import CachedWords, SubwindowSearch
from pipeline.systems.bow.search import Pyramid
from pipeline.systems.bow.words import learn_vocabulary, sample_descriptors
from pipeline.systems.dpm.detector import DpmDetector
from pipeline.systems.dpm.model import DpmModel, Look, Part
from pipeline.systems.fast_rcnn.detector import FastRcnnDetector, image_maps, limits_of, region_cells
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.faster_rcnn.detector import FasterRcnnDetector
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.hog_svm.detector import HogDetector
from pipeline.systems.hog_svm.model import HogModel
from pipeline.systems.localise.detector import LocaliseDetector
from pipeline.systems.localise.network import Localiser, LocaliseShape
from pipeline.systems.overfeat.detector import OverfeatDetector
from pipeline.systems.overfeat.network import Overfeat, OverfeatShape
from pipeline.systems.rcnn.features import cache_regions
from pipeline.systems.rcnn.network import RegionNetwork, RegionShape
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.sppnet.features import PooledRegions
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.square_detector import SquareDetector
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.yolo.network import Yolo, YoloShape

CPU = torch.device("cpu")
NET = architecture("small")


class Made:
    """A folder of models, and the detections in a split."""

    def __init__(self, root: Path, index: Index, proposals: list[np.ndarray], folder: Path) -> None:
        self.root, self.index, self.proposals, self.models = root, index, proposals, folder / "models"
        self.scratch = folder
        self.in_split: Detections

    @property
    def images(self) -> list[np.ndarray]:
        return [read_image(self.root / image.file) for image in self.index.images]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [(image.width, image.height) for image in self.index.images]

    def run(self, detector: Detector) -> None:
        """Do what the stage ``detect`` does."""
        self.in_split, thresholds = detect_split(detector, self.index, self.root, workers=1)
        replace(detector.description, score_thresholds=thresholds).save(self.models / detector.system)

    def linear(self, system: str, cache: RegionFeatures, settings: dict) -> None:
        """Write SVMs and regressors with random weights; scores of a class spread over about one."""
        rng = np.random.default_rng(len(system))
        folder = self.models / system
        widths = {layer: cache.rows(0, layer, np.arange(0)).shape[1] for layer in ("fc7", "pool5")}
        features = np.concatenate([values for _, values in cache.images("fc7")]).astype(np.float64)
        directions = rng.normal(size=(2, widths["fc7"]))
        spread = (features @ directions.T).std(axis=0)
        svm = LinearModel(
            (directions / spread[:, None]).astype(np.float32),
            -(features.mean(axis=0) @ (directions / spread[:, None]).T).astype(np.float32),
            1.0,
            "fc7",
        )
        offsets = rng.normal(size=(8, widths["pool5"])).astype(np.float32)
        moves = LinearModel(offsets * np.float32(1e-3 / widths["pool5"]), np.zeros(8, np.float32), 20.0, "pool5")
        svm.save(folder / "svm.safetensors")
        moves.save(folder / "bbox.safetensors")
        detect = settings["detect"]
        limits = class_limits(detect.max_per_class, detect.per_class_budget, [self.index], "detect")
        description = Description.of(system, self.index.classes, **settings, limits=limits)
        regressor = BoxRegressor(moves) if detect.box_regression else None
        self.run(LinearDetector(description, svm, regressor, CachedRegions(cache, self.index)))


@pytest.fixture(scope="session")
def proposal_settings(sections, altered):
    return altered(sections.proposals, engine="opencv", max_per_image=60, min_side=10)


@pytest.fixture(scope="session")
def make(squares, sections, altered, proposal_settings, tmp_path_factory) -> Callable[..., Made]:
    """Return a function that makes one system's models; its keywords change the settings of its ``detect``.

    They are made once and tests only read them.
    """
    root, records = squares
    index = Index(("red", "blue"), tuple(records[:5]))
    proposals = [propose(read_image(root / image.file), proposal_settings) for image in index.images]

    @cache
    def call(system: str, **changed: object) -> Made:
        made = Made(root, index, proposals, tmp_path_factory.mktemp(system))
        detect = altered(getattr(sections, system).detect, **changed)
        torch.manual_seed(3)
        MAKERS[system](made, sections, altered, {"proposals": proposal_settings}, detect)
        return made

    return call


def make_rcnn(made: Made, sections, altered, settings, detect) -> None:
    region = altered(sections.rcnn.region, size=32, padding=3)
    network = RegionNetwork(RegionShape("small", 32, 16, 3)).eval()
    network.save(made.models / "rcnn/network.safetensors")
    images = made.index.images
    regions = gather(
        [image.id for image in images],
        [made.root / image.file for image in images],
        [image.boxes for image in images],
        made.proposals,
    )
    path = cache_regions(
        regions,
        network,
        region,
        ("pool5", "fc7"),
        place=made.scratch,
        dtype="float16",
        shard_mb=1,
        batch=16,
        precision=sections.rcnn.features.precision,
        device=CPU,
        workers=1,
        attributes={},
        title="caching",
    )
    used = {**settings, "region": region, "features": sections.rcnn.features, "detect": detect}
    made.linear("rcnn", FeatureCache(path, "systems/rcnn/dvc.yaml:features"), used)


def make_sppnet(made: Made, sections, altered, settings, detect) -> None:
    maps = altered(sections.sppnet.maps, scales=(64, 128))
    conv = NET.conv().eval()
    backbone = {f"features.{name}": tensor for name, tensor in conv.state_dict().items()}
    weights.Backbone(backbone, network="small").save(made.models / "sppnet/backbone.safetensors")
    origin = maps_origin("small", conv, maps.scales)
    images = made.index.images
    files = [made.root / image.file for image in images]
    path = cache_maps(
        entries([image.id for image in images], files, made.sizes, maps.scales, Geometry.from_layers(conv)),
        conv,
        NET.channels,
        place=made.scratch,
        dtype="float16",
        shard_mb=1,
        precision=maps.precision,
        device=CPU,
        workers=1,
        attributes={**origin, "fingerprint": fingerprint(**origin)},
        title="caching",
    )
    window = sections.sppnet.window
    maps_of = fingerprint(**origin)
    shape = PyramidShape("small", maps_of, NET.channels, window.rule, window.side, (3, 2, 1), 16, 3)
    head = PyramidHead(shape).eval()
    head.save(made.models / "sppnet/network.safetensors")
    regions = ProposalSet.join(made.proposals, [image.id for image in images], "opencv", {})
    cache = PooledRegions.from_proposals(
        MapCache(path, "systems/sppnet/dvc.yaml:maps"), made.index, regions, head, path, CPU
    )
    made.linear("sppnet", cache, {**settings, "maps": maps, "detect": detect})


def make_fast_rcnn(made: Made, sections, altered, settings, detect) -> None:
    network = FastRcnn(FastRcnnShape("small", 3, 32, 2, (96, 160), 320)).eval()
    spread_scores(network, made)
    name = "compressed" if detect.compressed else "detector"
    network.save(made.models / f"fast_rcnn/{name}.safetensors")
    limits = limits_of(detect, [made.index], "detect")
    description = Description.of("fast_rcnn", made.index.classes, **settings, detect=detect, **limits)
    proposals = ProposalSet.join(made.proposals, [image.id for image in made.index.images], "opencv", {})
    made.run(FastRcnnDetector(description, network, CPU, proposals))


def make_faster_rcnn(made: Made, sections, altered, settings, detect) -> None:
    detect = altered(detect, proposals__min_side=8, proposals__after=40)
    rpn = RegionProposalNetwork(RpnShape("small", 16, (24.0, 40.0), (1.0, 2.0), (96,), 320)).eval()
    network = FastRcnn(FastRcnnShape("small", 3, 32, 2, (96,), 320)).eval()
    network.conv.load_state_dict(rpn.conv.state_dict())
    spread_scores(network, made)
    folder = made.models / "faster_rcnn"
    rpn.save(folder / "rpn2.safetensors")
    network.save(folder / "detector2.safetensors")
    description = Description.of("faster_rcnn", made.index.classes, detect=detect)
    made.run(FasterRcnnDetector(description, rpn, network, CPU))


def make_yolo(made: Made, sections, altered, settings, detect) -> None:
    yolo = sections.yolo
    network = Yolo(YoloShape.from_params("small", 64, 2, 2, yolo.head)).eval()
    single_shot(made, "yolo", network, detect)


def make_ssd(made: Made, sections, altered, settings, detect) -> None:
    ssd = sections.ssd
    network = Ssd(SsdShape.from_params("small", 2, 96, ssd.taps, ssd.extra, ssd.l2_scale, ssd.default_boxes)).eval()
    single_shot(made, "ssd", network, detect)


def make_retinanet(made: Made, sections, altered, settings, detect) -> None:
    network = Retinanet(RetinanetShape("small", 2, 96, ("conv3", "conv5"), 1, 16, 1, 4.0, 2, (1.0,)), prior=0.3).eval()
    torch.nn.init.normal_(network.scores[-1].weight, std=0.3)
    single_shot(made, "retinanet", network, detect)


def make_overfeat(made: Made, sections, altered, settings, detect) -> None:
    network = Overfeat(OverfeatShape("small", 2, (96, 128), 2, 3, (16,), (16,), False)).eval()
    torch.nn.init.normal_(network.classifier.layers[-1].weight)
    network.save(made.models / "overfeat/network.safetensors")
    description = Description.of("overfeat", made.index.classes, detect=detect)
    made.run(OverfeatDetector(description, network, CPU))


def make_localise(made: Made, sections, altered, settings, detect) -> None:
    network = Localiser(LocaliseShape("small", 2, 96, (3, 1), 16, "conv", (16,), True, 2)).eval()
    for layer in (network.output, network.box[-1]):
        torch.nn.init.normal_(layer.weight, std=0.1)
    network.save(made.models / "localise/network.safetensors")
    description = Description.of("localise", made.index.classes, detect=detect)
    made.run(LocaliseDetector(description, network, CPU))


def cached_pyramids(made: Made, hog: Hog) -> Path:
    images = made.index.images
    files = [made.root / image.file for image in images]
    entries = pyramid_entries([image.id for image in images], files, made.sizes, hog)
    return cache_pyramids(entries, hog, place=made.scratch, workers=1, attributes={}, title="caching")


def make_hog_svm(made: Made, sections, altered, settings, detect) -> None:
    hog = altered(sections.hog_svm.hog, finest=1.5, shard_mb=0.05)
    path = cached_pyramids(made, hog)
    descriptor, rng = descriptor_of(hog), np.random.default_rng(1)
    filters = []
    for label, shape in ((1, WindowShape(4, 4, 1)), (2, WindowShape(5, 3, 1)), (2, WindowShape(3, 5, 1))):
        weights = rng.normal(size=(*shape.grid(descriptor), descriptor.channels)).astype(np.float32)
        filters.append(Filter(Component(label, shape), weights - weights.mean(), -1.0))
    model = HogModel(tuple(filters), rng.normal(0, 0.05, (3, 4)).astype(np.float32))
    model.save(made.models / "hog_svm/filters.safetensors")
    limits = class_limits(detect.max_per_class, detect.per_class_budget, [made.index], "detect")
    description = Description.of("hog_svm", made.index.classes, hog=hog, detect=detect, limits=limits)
    made.run(HogDetector(description, model, CachedPyramids(MapCache(path, "stage"), made.index)))


def make_dpm(made: Made, sections, altered, settings, detect) -> None:
    hog = altered(sections.dpm.hog, finest=1.5, per_octave=2, shard_mb=0.05)
    parts = altered(sections.dpm.parts, reach=2)
    path = cached_pyramids(made, hog)
    descriptor, rng, cost = (
        descriptor_of(hog),
        np.random.default_rng(1),
        np.array([0.1, 0, 0.1, 0], np.float32),
    )

    def weights(*sides: int) -> np.ndarray:
        values = rng.normal(size=(*sides, descriptor.channels)).astype(np.float32)
        return values - values.mean()

    looks = [
        Look(Component(label, shape), weights(*shape.grid(descriptor)), -1.0, parts_of)
        for label, shape, parts_of in (
            (1, WindowShape(2, 2, 1), tuple(Part(at, weights(3, 3), cost) for at in ((0, 0), (3, 4)))),
            (2, WindowShape(3, 2, 1), (Part((2, 1), weights(3, 4), cost),)),
        )
    ]
    boxes = tuple(rng.normal(0, 0.05, (2 * filters + 1, 4)).astype(np.float32) for filters in (3, 3, 2, 2))
    model = DpmModel(tuple(looks), True, boxes)
    model.save(made.models / "dpm/parts.safetensors")
    limits = class_limits(detect.max_per_class, detect.per_class_budget, [made.index], "detect")
    settings = {"hog": hog, "parts": parts, "detect": detect, "limits": limits}
    description = Description.of("dpm", made.index.classes, **settings)
    made.run(DpmDetector(description, model, CachedPyramids(MapCache(path, "stage"), made.index)))


def single_shot(made: Made, system: str, network: Yolo | Ssd | Retinanet, detect) -> None:
    network.save(made.models / system / "network.safetensors")
    description = Description.of(system, made.index.classes, detect=detect)
    made.run(SquareDetector(description, network, network.decode, network.shape.side, CPU))


@torch.no_grad()
def spread_scores(network: FastRcnn, made: Made) -> None:
    """Change the last layer so that the scores of regions differ from each other."""
    maps, factors = image_maps(network, made.images[0], CPU)
    cells = torch.from_numpy(region_cells(network, made.proposals[0], factors, made.sizes[0]))
    logits = network.scores(network.features(network.pool(maps, cells)))
    network.scores.weight.mul_(3 / logits.std(dim=0)[:, None])
    network.scores.bias.copy_(-logits.mean(dim=0) * 3 / logits.std(dim=0))
    network.offsets.weight.mul_(30)


def make_bow(made: Made, sections, altered, settings, detect) -> None:
    words = altered(sections.bow.words, step=4, vocabulary=20, samples=2000)
    vocabulary = learn_vocabulary(sample_descriptors(made.index.images, made.root, words, 1), 20, 1)
    vocabulary.save(made.models / "bow/vocabulary.safetensors")
    weights_of_words = np.random.default_rng(3).normal(-0.3, 1, (2, 20 * len(Pyramid(2)))).astype(np.float32)
    svm = LinearModel(weights_of_words, np.float32([-1, -2]), 0.5, "words")
    svm.save(made.models / "bow/svm.safetensors")
    path = cache_words(
        made.index.images,
        made.root,
        words,
        vocabulary,
        place=made.scratch,
        workers=2,
        attributes={"system": "bow", "fingerprint": "0"},
        title="caching",
    )
    description = Description.of("bow", made.index.classes, words=words, detect=detect)
    made.run(SubwindowSearch(description, svm, CachedWords(WordCache(path, made.index, words))))


MAKERS = {
    "overfeat": make_overfeat,
    "localise": make_localise,
    "hog_svm": make_hog_svm,
    "dpm": make_dpm,
    "bow": make_bow,
    "rcnn": make_rcnn,
    "sppnet": make_sppnet,
    "fast_rcnn": make_fast_rcnn,
    "faster_rcnn": make_faster_rcnn,
    "yolo": make_yolo,
    "ssd": make_ssd,
    "retinanet": make_retinanet,
}
