"""Small caches whose every value is known, an index of their images, and a small project for the commands."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.core.boxes import as_boxes
from pipeline.data.index import SPLITS, ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column, FeatureCache
from pipeline.features.maps import entries
from pipeline.features.regions import gather
from pipeline.inspect import rows
from pipeline.linear.model import LinearModel
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.sppnet.params import Window

REGION = {"size": 48, "padding": 4, "mode": "warp"}
ATTRIBUTES = {"system": "rcnn", "network": "small", "weights": "w" * 64, "region": REGION, "fingerprint": "f" * 16}
CLASSES = ("cat", "dog")


def write_cache(path: Path, layers: dict, tables: dict, attributes: dict, shard_mb: float = 0.0001) -> FeatureCache:
    """Write a finished cache by the pipeline's own writer, in shards of a chunk each."""
    scratch = path.parent / f"scratch {path.name}"
    scratch.mkdir(parents=True)
    columns = [Column(name, values.shape[1], str(values.dtype)) for name, values in layers.items()]
    rows = len(next(iter(layers.values())))
    with CacheWriter(scratch, columns, rows, shard_mb, tables, attributes) as writer:
        for start, stop in writer.pending():
            writer.write(start, {name: np.ascontiguousarray(values[start:stop]) for name, values in layers.items()})
    writer.place.path.rename(path)
    return FeatureCache(path, "stage")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows be a block, so that images lie across blocks and shards."""
    monkeypatch.setattr("pipeline.features.cache.CHUNK_BYTES", 64)
    monkeypatch.setattr(rows, "BLOCK_MB", 1e-4)
    monkeypatch.setattr("pipeline.inspect.diff.BLOCK_MB", 1e-4)


@pytest.fixture
def index() -> Index:
    """Return three images of 100 x 60 pixels: a cat and a dog, nothing, an ignored cat."""
    return Index(
        CLASSES,
        (
            ImageRecord(
                11,
                "a.png",
                100,
                60,
                "",
                as_boxes([[10, 10, 30, 30], [50, 10, 90, 50]]),
                np.array([1, 2]),
                np.array([False, False]),
            ),
            ImageRecord(12, "b.png", 100, 60, ""),
            ImageRecord(13, "c.png", 100, 60, "", as_boxes([[0, 0, 40, 40]]), np.array([1]), np.array([True])),
        ),
    )


BOXES = as_boxes(
    [
        *([10, 10, 30, 30], [50, 10, 90, 50]),  # image 11: the objects
        *([10, 10, 30, 28], [12, 10, 30, 30], [50, 10, 90, 40], [0, 40, 20, 60], [60, 0, 100, 30]),  # its proposals
        *([0, 0, 20, 20], [5, 0, 25, 20], [70, 30, 100, 60]),  # image 12
        *([0, 0, 40, 40], [0, 0, 40, 38], [50, 20, 80, 50]),  # image 13: the object and two proposals
    ]
)
OFFSETS = np.array([0, 7, 10, 13])
TRUTH = np.isin(np.arange(13), (0, 1, 10))


@pytest.fixture
def tables() -> dict:
    """Return what a cache of the index's regions keeps beside the features: 13 rows."""
    return {"offsets": OFFSETS, "boxes": BOXES, "is_ground_truth": TRUTH, "image_ids": np.array([11, 12, 13])}


@pytest.fixture
def make(tmp_path: Path, tables: dict) -> Callable[..., FeatureCache]:
    """Return a function that writes a cache of layers of 13 rows: ``make("name", fc7=values)``."""

    def build(name: str, attributes: dict | None = None, **layers: np.ndarray) -> FeatureCache:
        return write_cache(
            tmp_path / "features/rcnn" / f"{name}.zarr", layers, tables, {**ATTRIBUTES, **(attributes or {})}
        )

    return build


@pytest.fixture
def maps(tmp_path: Path) -> FeatureCache:
    """Return the maps of the index's images at two scales: input as large as the image and twice that, stride 8.

    Each cell's first channel is its number, its second is 1 where the map is the larger one.
    """
    hw = np.tile([[7, 12], [15, 25]], (3, 1))
    offsets = np.concatenate([[0], np.cumsum(hw.prod(axis=1))])
    cells = np.zeros((offsets[-1], 2), np.float16)
    cells[:, 0] = np.arange(offsets[-1])
    cells[:, 1] = np.repeat(np.tile([0, 1], 3), hw.prod(axis=1))
    tables = {
        "offsets": offsets,
        "image_ids": np.repeat([11, 12, 13], 2),
        "hw": hw,
        "scale": np.tile([[1.0, 1.0], [2.0, 2.0]], (3, 1)),
    }
    attributes = {
        "system": "sppnet",
        "network": "small",
        "scales": [60, 120],
        "stride": 8,
        "offset": 4.0,
        "fingerprint": "f",
    }
    return write_cache(tmp_path / "features/sppnet/test.zarr", {"cells": cells}, tables, attributes)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Return a folder with the index's images: red left of pixel 50, green right of it."""
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[:, :50, 0] = 200
    picture[:, 50:, 1] = 100
    for name in "abc":
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return tmp_path


ROOT = Path(__file__).resolve().parents[2]
IMAGES, SIDE, CHANNELS, SCALES = 4, 64, 8, (64,)
OBJECT = as_boxes([[8, 8, 40, 40]])
PROPOSALS = as_boxes([[0, 0, 64, 64], [8, 8, 40, 44], [30, 30, 60, 60]])
GRAPH = """stages:
  svm: {{cmd: python, outs: [models/{system}/svm.safetensors]}}
  {stage}: {{matrix: {{split: [train, val, test]}}, cmd: python, outs: ["features/{system}/${{item.split}}.zarr"]}}
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project of 4 test images of 4 regions, and of empty other splits; to be read only.

    Region 1 of each image (the whole image) has the features of region 1 of the image two further.
    """
    folder = tmp_path_factory.mktemp("project")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    for system, stage in (("rcnn", "features"), ("sppnet", "maps")):
        (folder / "systems" / system).mkdir(parents=True)
        (folder / "systems" / system / "dvc.yaml").write_text(GRAPH.format(system=system, stage=stage))
    rng = np.random.default_rng(0)
    files = [f"JPEGImages/{n}.png" for n in range(IMAGES)]
    for file in files:
        (folder / "data/fetched" / file).parent.mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "data/fetched" / file)
    images = tuple(
        ImageRecord(n + 1, file, SIDE, SIDE, "", OBJECT, np.array([1 + n % 2]), np.zeros(1, bool))
        for n, file in enumerate(files)
    )
    for split in SPLITS:
        Index(("disc", "ring"), images if split == "test" else ()).save(folder / f"data/index/{split}.json")
    ids = [image.id for image in images]
    ProposalSet.join([PROPOSALS] * IMAGES, ids, "made up", {}).save(folder / "proposals/test.h5")
    _cache_regions(folder / "features/rcnn", ids, rng)
    _cache_maps(folder / "features/sppnet", ids, rng)
    svm = LinearModel(np.ones((2, 16), np.float32), np.array([-8, -9], np.float32), 1.0, "fc7")
    svm.save(folder / "models/rcnn/svm.safetensors")
    torch.manual_seed(0)
    window = Window.model_validate({"rule": "released", "side": 48})
    head = PyramidHead(PyramidShape("small", "m", CHANNELS, window.rule, window.side, (3, 2, 1), 12, 3))
    head.save(folder / "models/sppnet/network.safetensors")
    return folder


def _cache_regions(folder: Path, ids: list[int], rng: np.random.Generator) -> None:
    regions = gather(ids, [Path("a.png")] * IMAGES, [OBJECT] * IMAGES, [PROPOSALS] * IMAGES)
    values = rng.uniform(0, 1, (IMAGES, 4, 16)).astype(np.float16)
    values[2:, 1] = values[:2, 1] * np.float16(2)
    layers = {"fc7": values.reshape(-1, 16), "pool5": values.reshape(-1, 16)[:, 11::-1]}
    write_cache(folder / "test.zarr", layers, regions.tables(), ATTRIBUTES, shard_mb=1)
    write_cache(folder / "other.zarr", {"fc7": layers["fc7"] * 2}, regions.tables(), ATTRIBUTES, shard_mb=1)


def _cache_maps(folder: Path, ids: list[int], rng: np.random.Generator) -> None:
    geometry = Geometry.from_architecture(architecture("small"))
    layout = entries(ids, [Path("a.png")] * IMAGES, [(SIDE, SIDE)] * IMAGES, SCALES, geometry)
    cells = rng.uniform(0, 1, (IMAGES, int(layout.offsets[1]), CHANNELS)).astype(np.float16)
    cells[2:] = cells[:2]
    origin = {"system": "sppnet", "network": "small", "scales": list(SCALES), "fingerprint": "m"}
    attributes = origin | {"stride": geometry.stride, "offset": geometry.offset}
    layers = {"cells": cells.reshape(-1, CHANNELS)}
    write_cache(folder / "test.zarr", layers, layout.tables(), attributes, shard_mb=1)


@pytest.fixture
def boxline(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return ``boxline inspect`` as a function of its arguments, run in the project."""
    monkeypatch.chdir(project)
    return lambda *arguments: CliRunner().invoke(app, ["inspect", *map(str, arguments)])


@pytest.fixture
def refused(boxline: Callable[..., Result]) -> Callable[..., str]:
    """Return a function that runs a command, checks that it leaves with ``code``, and returns its error."""

    def run(*arguments: object, code: int = 1) -> str:
        result = boxline(*arguments)
        assert result.exit_code == code, result.output
        if code == 1:
            assert result.stderr.startswith("error: ")
            assert len(result.stderr.splitlines()) == 1
        return result.stderr

    return run
