"""`boxline inspect image`, `neighbours` and `project` in a small project whose caches are made by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.core.storage import replace
from pipeline.data.index import SPLITS, ImageRecord, Index
from pipeline.features.cache import CacheWriter, Column
from pipeline.features.maps import entries
from pipeline.features.regions import gather
from pipeline.nets.backbones import architecture
from pipeline.nets.geometry import Geometry
from pipeline.proposals.store import ProposalSet
from pipeline.systems.sppnet.network import PyramidHead, PyramidShape
from pipeline.systems.sppnet.params import Window

ROOT = Path(__file__).resolve().parents[2]
IMAGES, SIDE, CHANNELS = 4, 64, 8
TRUTH = np.float32([[8, 8, 40, 40]])
PROPOSALS = np.float32([[0, 0, 64, 64], [8, 8, 40, 44], [30, 30, 60, 60]])
SCALES = (64,)

Boxline = Callable[..., Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project of 4 test images of 4 regions, and of empty other splits.

    Region 1 of each image (the whole image) has the features of region 1 of the image two further.
    """
    folder = tmp_path_factory.mktemp("project")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(text.replace("scales: [256]", f"scales: {list(SCALES)}"), encoding="utf-8")
    rng = np.random.default_rng(0)
    records = [
        ImageRecord(n + 1, f"JPEGImages/{n}.png", SIDE, SIDE, "", TRUTH, np.array([1 + n % 2]), np.zeros(1, bool))
        for n in range(IMAGES)
    ]
    for record in records:
        file = folder / "data/fetched" / record.file
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(file)
    for split in SPLITS:
        images = tuple(records if split == "test" else ())
        Index(("disc", "ring"), images).save(folder / f"data/index/{split}.json")
    ids = [record.id for record in records]
    ProposalSet.join([PROPOSALS] * IMAGES, ids, "made up", {}).save(folder / "proposals/test.h5")
    _cache_regions(folder, records, rng)
    _cache_maps(folder, records, rng)
    return folder


def _cache_regions(folder: Path, records: list[ImageRecord], rng: np.random.Generator) -> None:
    files = [Path(record.file) for record in records]
    regions = gather([r.id for r in records], files, [TRUTH] * IMAGES, [PROPOSALS] * IMAGES)
    values = rng.uniform(0, 1, (IMAGES, 4, 16)).astype(np.float16)
    values[2:, 1] = values[:2, 1] * np.float16(2)
    attributes = {"system": "rcnn", "fingerprint": "r", "region": {"size": 48, "padding": 4, "mode": "warp"}}
    columns = [Column("fc7", 16, "float16"), Column("pool5", 16, "float16")]
    scratch = folder / ".scratch/made"
    scratch.mkdir(parents=True)
    with CacheWriter(scratch, columns, 4 * IMAGES, 1, regions.tables(), attributes) as writer:
        rows = values.reshape(-1, 16)
        writer.write(0, {"fc7": rows, "pool5": rows[:, ::-1]})
    replace(writer.path, folder / "features/rcnn/test.zarr")


def _cache_maps(folder: Path, records: list[ImageRecord], rng: np.random.Generator) -> None:
    geometry = Geometry.from_architecture(architecture("small"))
    files = [Path(record.file) for record in records]
    layout = entries([r.id for r in records], files, [(SIDE, SIDE)] * IMAGES, SCALES, geometry)
    cells = rng.uniform(0, 1, (IMAGES, int(layout.offsets[1]), CHANNELS)).astype(np.float16)
    cells[2:] = cells[:2]
    attributes = {"system": "sppnet", "network": "small", "scales": list(SCALES), "fingerprint": "m"}
    tables = {**layout.tables()}
    rows = cells.reshape(-1, CHANNELS)
    scratch = folder / ".scratch/maps"
    scratch.mkdir(parents=True)
    with CacheWriter(scratch, [Column("cells", CHANNELS, "float16")], len(rows), 1, tables, attributes) as writer:
        writer.write(0, {"cells": rows})
    replace(writer.path, folder / "features/sppnet/test.zarr")
    torch.manual_seed(0)
    window = Window.model_validate({"rule": "released", "side": 48})
    head = PyramidHead(PyramidShape("small", "m", CHANNELS, window.rule, window.side, (3, 2, 1), 12, outputs=3))
    head.save(folder / "models/sppnet/network.safetensors")


@pytest.fixture
def boxline(made: Path, monkeypatch: pytest.MonkeyPatch) -> Boxline:
    monkeypatch.chdir(made)
    return lambda *arguments: CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def picture_size(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        picture.load()
        return picture.size


def test_image_of_rcnn(boxline: Boxline, tmp_path: Path) -> None:
    png, html = tmp_path / "a.png", tmp_path / "a.html"
    result = boxline("image", "2.png", "--top", 2, "--layer", "pool5", "--png", png, "--html", html)
    assert result.exit_code == 0, result.stderr
    assert (
        "Its 2 best-ranked proposals, those with an overlap of 0.5 or more\n     2  disc        0.89" in result.stdout
    )
    assert "Strongest units of pool5" in result.stdout
    assert min(picture_size(png)) > 400
    page = html.read_text()
    assert "2.png as R-CNN saw it" in page
    assert 'src="data:image/png;base64,' in page


def test_image_of_sppnet(boxline: Boxline, tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    result = boxline("image", "3", "--system", "sppnet", "--window", 1, "--png", png)
    assert result.exit_code == 0, result.stderr
    assert "scale 64: 8 x 8 cells (height x width); used" in result.stdout
    assert "What region 1 pools\nbox    0 0 64 64\nscale  64\ncells  x 0 to 7, y 0 to 7: 8 x 8" in result.stdout
    assert "level  6 x 6 bins of 2 x 2 cells" in result.stdout  # of params.yaml
    assert min(picture_size(png)) > 400


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
def test_neighbours_finds_the_planted_region(boxline: Boxline, tmp_path: Path, system: str) -> None:
    png = tmp_path / "a.png"
    result = boxline("neighbours", "0.png:1", "--system", system, "--top", 3, "--split", "test", "--png", png)
    assert result.exit_code == 0, result.stderr
    first = next(line for line in result.stdout.splitlines() if line.startswith(" 1.0000"))
    assert first.split() == ["1.0000", "2.png:1", "background", "0.25", "0", "0", "64", "64"]
    assert "0.png:" not in result.stdout.partition("cosine")[2]
    assert ("pooling fc7" in result.stderr) == (system == "sppnet")
    assert min(picture_size(png)) > 300


def test_neighbours_in_the_same_image_and_in_another_split(boxline: Boxline) -> None:
    same = boxline("neighbours", "0.png:1", "--same-image", "--top", 15).stdout.partition("cosine")[2]
    assert sum("0.png:" in line for line in same.splitlines()) == 3
    missing = boxline("neighbours", "0.png:1", "--split", "train")
    assert missing.exit_code == 1
    assert "the stage rcnn_features@train writes it" in missing.stderr


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
def test_project(boxline: Boxline, tmp_path: Path, system: str) -> None:
    png = tmp_path / "a.png"
    result = boxline("project", "--system", system, "--method", "pca", "--sample", 8, "--png", png)
    assert result.exit_code == 0, result.stderr
    assert f"PCA of 8 regions, fc7 of {system}, test" in result.stdout
    assert min(picture_size(png)) > 400
    counts = {line.split()[0]: line.split()[1:3] for line in result.stdout.splitlines()[-4:-1]}
    assert counts == {"background": ["3", "8"], "disc": ["2", "4"], "ring": ["3", "4"]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("image", "horse"), "horse: no image of train, val, test"),
        (("image", "png"), "png: 4 images are meant, 0.png (id 1)"),
        (("image", "1", "--window", "4"), "0.png: region 4 does not exist; there are 4"),
        (("image", "1", "--system", "sppnet", "--window", "9"), "region 9 does not exist"),
        (("image", "1", "--layer", "fc6"), "layer fc6 is not cached, only fc7, pool5"),
        (("neighbours", "1:7"), "region 7 does not exist"),
        (("neighbours", "1"), "IMAGE:REGION is expected"),
        (("neighbours", "1:0", "--system", "sppnet", "--layer", "conv5"), "conv5 is not pooled from maps, only pool5"),
        (("project", "--split", "val"), "the stage rcnn_features@val writes it"),
        (("project", "--split", "val", "--system", "sppnet"), "the stage sppnet_maps@val writes it"),
    ],
)
def test_what_is_wrong_is_one_sentence(boxline: Boxline, arguments: tuple[str, ...], sentence: str) -> None:
    result = boxline(*arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("system", ["rcnn", "sppnet"])
def test_a_cache_of_other_images_is_refused(boxline: Boxline, made: Path, monkeypatch, tmp_path, system: str) -> None:
    for name in ("params.yaml", "features", "proposals", "models"):
        (tmp_path / name).symlink_to(made / name)
    for split in SPLITS:
        index = Index.load(made / f"data/index/{split}.json")
        Index(index.classes, index.images[:-1]).save(tmp_path / f"data/index/{split}.json")
    monkeypatch.chdir(tmp_path)
    stage = {"rcnn": "rcnn_features", "sppnet": "sppnet_maps"}[system]
    result = boxline("image", "1", "--system", system)
    assert result.exit_code == 1
    assert f"its 4 images are not the 3 of the index; dvc repro {stage}@test writes it anew" in result.stderr
