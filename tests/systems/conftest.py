"""A few small images with coloured squares, and systems that learn them in seconds."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML

from pipeline import params, presets
from pipeline.data.images import ImageCache
from pipeline.data.index import ImageRecord, Index
from pipeline.detector import Detector, detect_split
from pipeline.evaluation.detections import Detections
from pipeline.nets.backbones import architecture
from pipeline.nets.weights import Backbone
from pipeline.proposals.store import ProposalSet
from pipeline.systems.fast_rcnn.network import FastRcnn, FastRcnnShape
from pipeline.systems.fast_rcnn.training import train_detector
from pipeline.systems.faster_rcnn.network import RegionProposalNetwork, RpnShape
from pipeline.systems.faster_rcnn.training import train_rpn
from pipeline.systems.localise.network import Localiser, LocaliseShape
from pipeline.systems.overfeat.network import Overfeat, OverfeatShape
from pipeline.systems.retinanet.network import Retinanet, RetinanetShape
from pipeline.systems.retinanet.training import train_retinanet
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.training import train_ssd
from pipeline.systems.yolo.network import Yolo, YoloShape
from pipeline.systems.yolo.training import train_yolo

ROOT = Path(__file__).resolve().parents[2]
COLOURS = ((220, 40, 40), (40, 80, 220))


@pytest.fixture(scope="session")
def sections() -> params.Params:
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    return params.parse(content, "params.yaml")


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> tuple[Path, list[ImageRecord]]:
    """Return a folder and eight records: one or two squares each, none in the last image."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(5)
    records = []
    for number in range(8):
        image = rng.integers(90, 150, (96, 112, 3), dtype=np.uint8)
        boxes, labels = [], []
        for place in range(0 if number == 7 else 1 + number % 2):
            side = int(rng.integers(24, 41))
            x, y = int(rng.integers(0, 56 - side + 1)) + 56 * place, int(rng.integers(0, 96 - side + 1))
            label = int(rng.integers(2)) + 1
            image[y : y + side, x : x + side] = COLOURS[label - 1]
            boxes.append((x, y, x + side, y + side))
            labels.append(label)
        Image.fromarray(image).save(root / f"{number}.png")
        records.append(
            ImageRecord(
                number + 1,
                f"{number}.png",
                112,
                96,
                "",
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array(labels, np.int64),
                np.zeros(len(labels), np.bool_),
            )
        )
    return root, records


@pytest.fixture(scope="session")
def detected(squares) -> Callable[..., Detections]:
    """Return a function that gives the detections of a detector in `squares`, or in some of its records."""
    root, everything = squares

    def call(detector: Detector, records: Sequence[ImageRecord] = everything) -> Detections:
        return detect_split(detector, Index(("red", "blue"), tuple(records)), root, workers=1)[0]

    return call


@pytest.fixture
def cache(squares) -> ImageCache:
    root, records = squares
    return ImageCache([root / record.file for record in records], 64)


@pytest.fixture(scope="session")
def around(squares) -> list[np.ndarray]:
    """Return proposals for `squares`: boxes shaken around each object, and boxes anywhere."""
    rng = np.random.default_rng(6)
    proposals = []
    for record in squares[1]:
        near = np.repeat(record.boxes, 12, axis=0) + rng.uniform(-9, 9, (12 * len(record.boxes), 4))
        corner = rng.uniform(0, 60, (20, 2))
        anywhere = np.concatenate([corner, corner + rng.uniform(12, 36, (20, 2))], axis=1)
        proposals.append(np.clip(np.concatenate([near, anywhere]), 0, [112, 96, 112, 96]).astype(np.float32))
    return proposals


def with_values(section: Any, **values: Any) -> Any:
    """Return a copy of a parameter section with other values, nested ones as ``schedule__steps``."""
    for name, value in values.items():
        first, _, rest = name.partition("__")
        section = section.model_copy(
            update={first: with_values(getattr(section, first), **{rest: value}) if rest else value}
        )
    return section


@pytest.fixture(scope="session")
def altered():
    return with_values


@pytest.fixture(scope="session")
def make_project(squares, around) -> Callable[..., Path]:
    """Return a function that makes a project in a folder, with the tiny preset and ``KEY=VALUE`` over it.

    It has all that trainings read, but for SPP-net's maps: `squares`, the first five to train, three in val.
    """
    root, records = squares

    def make(folder: Path, *assignments: str) -> Path:
        values = presets.read(ROOT / "presets", "tiny") | presets.assigned([*assignments, f"data.root={root}"])
        (folder / "params.yaml").write_text(presets.lay_over(presets.template(), values, "params.yaml")[0])
        for split, part in (("train", slice(0, 5)), ("val", slice(5, 8))):
            index = Index(("red", "blue"), tuple(records[part]))
            index.save(folder / f"data/index/{split}.json")
            proposals = ProposalSet.join(around[part], [image.id for image in index.images], "made", {})
            for place in ("proposals", "proposals/faster_rcnn1", "proposals/faster_rcnn2"):
                proposals.save(folder / place / f"{split}.h5")
        weights = {f"features.{name}": tensor for name, tensor in architecture("small").conv().state_dict().items()}
        Backbone(weights, network="small").save(folder / "models/backbones/small.safetensors")
        detector = FastRcnn(FastRcnnShape("small", 7, 32, 2, (128,), 192))
        detector.save(folder / "models/faster_rcnn/detector1.safetensors")
        windows = Overfeat(OverfeatShape("small", 2, (96, 128), 2, 3, (16,), (16,), False))
        windows.save(folder / "models/overfeat/classifier.safetensors")
        localiser = Localiser(LocaliseShape("small", 2, 96, (6, 3, 2, 1), 32, "conv", (16,), False, 2))
        localiser.save(folder / "models/localise/classifier.safetensors")
        return folder

    return make


class Trainable:
    """A network of a system, so small that it learns `squares` in seconds, and how it is trained.

    Args:
        build: makes the network.
        convolutions: the name of its backbone.
        train: the system's training, its keywords set but for those of `fit`.
        settings: for a training from the start.
        squares: folder and records.
        scratch: a folder for `trained`.
    """

    def __init__(
        self,
        build: Callable[[], torch.nn.Module],
        convolutions: str,
        train: Callable[..., None],
        settings: Any,
        squares: tuple[Path, list[ImageRecord]],
        scratch: Path,
    ) -> None:
        self._build, self._convolutions, self._train = build, convolutions, train
        self.settings, self._squares, self._scratch = settings, squares, scratch

    def new(self) -> Any:
        """Return the network as it is before its training, the same at each call."""
        torch.manual_seed(0)
        network = self._build()
        for layer in network.get_submodule(self._convolutions):
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return network

    def images(self) -> ImageCache:
        root, records = self._squares
        return ImageCache([root / record.file for record in records], 64)

    def fit(
        self, scratch: Path, network: Any = None, images: ImageCache | None = None, options: Any = None, **changed: Any
    ) -> Any:
        """Train ``network``, or a new one, with some settings ``changed``, and return it."""
        network = network or self.new()
        self._train(
            network=network,
            records=self._squares[1],
            images=images or self.images(),
            settings=with_values(self.settings, **changed),
            scratch=scratch,
            seed=1,
            device=torch.device("cpu"),
            **{"workers": 0} | (options or {}),
        )
        return network

    @cached_property
    def trained(self) -> Any:
        return self.fit(self._scratch)


@pytest.fixture(scope="session")
def trainables(squares, around, sections, tmp_path_factory) -> dict[str, Trainable]:
    def schedule(steps: int, lr: float, decay: int, warmup: int, every: int) -> dict[str, Any]:
        values = {"steps": steps, "lr": lr, "decay_at": (decay,), "warmup": warmup, "checkpoint_every": every}
        return {f"schedule__{name}": value for name, value in values.items()}

    def fast_rcnn(**options: Any) -> None:
        train_detector(
            **{"proposals": around, "new": ("scores", "offsets", "fc6", "fc7"), "frozen": (), "title": "test"} | options
        )

    def rpn(**options: Any) -> None:
        train_rpn(**{"frozen": (), "title": "test"} | options)

    made = {
        "fast_rcnn": (
            lambda: FastRcnn(FastRcnnShape("small", 5, 32, 2, (96,), 128)),
            "conv",
            fast_rcnn,
            with_values(sections.fast_rcnn.train, regions=32, dropout=0.0, **schedule(250, 0.02, 200, 10, 30)),
        ),
        "rpn": (
            lambda: RegionProposalNetwork(RpnShape("small", 32, (24.0, 40.0), (1.0,), (96,), 128)),
            "conv",
            rpn,
            with_values(sections.faster_rcnn.rpn, anchors=64, **schedule(160, 0.01, 130, 10, 40)),
        ),
        "yolo": (
            lambda: Yolo(YoloShape("small", 96, 2, 2, ((32, 2), (32, 1)), (32,), shared=True), dropout=0.2),
            "conv",
            train_yolo,
            with_values(
                sections.yolo.train,
                batch=4,
                frozen_layers=0,
                augment__jitter=0.05,
                **schedule(500, 0.005, 400, 20, 100),
            ),
        ),
        "ssd": (
            lambda: Ssd(SsdShape("small", 2, 96, ("conv5",), ((16, 32, 3, 2, 1),), 8.0, (26, 40, 60), ((), ()), None)),
            "trunk.conv",
            train_ssd,
            with_values(
                sections.ssd.train,
                batch=4,
                augment__expand=1.0,
                augment__crop_overlaps=(0.7, 0.9),
                augment__photometric=False,
                **schedule(90, 0.005, 70, 10, 45),
            ),
        ),
        "retinanet": (
            lambda: Retinanet(RetinanetShape("small", 2, 96, ("conv5",), 1, 32, 1, 3.0, 3, (1.0,))),
            "conv",
            train_retinanet,
            with_values(
                sections.retinanet.train,
                batch=4,
                augment__scale=(0.9, 1.1),
                **schedule(120, 0.01, 100, 10, 45),
            ),
        ),
    }
    return {name: Trainable(*parts, squares, tmp_path_factory.mktemp(name)) for name, parts in made.items()}
