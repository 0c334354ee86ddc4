"""A small untrained SSD on disk, and folders of pictures to give it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from pipeline import params
from pipeline.cli import app
from pipeline.detector import Description
from pipeline.systems.ssd.network import Ssd, SsdShape
from pipeline.systems.ssd.params import Ssd as SsdParams

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("red", "blue")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an SSD of two classes; its scores lie near a third."""
    folder = tmp_path_factory.mktemp("trained") / "models"
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    ssd = params.parse(content, "params.yaml").section(SsdParams)
    torch.manual_seed(3)
    shape = SsdShape.from_params("small", len(CLASSES), 96, ssd.taps, ssd.extra, ssd.l2_scale, ssd.default_boxes)
    Ssd(shape).eval().save(folder / "ssd/network.safetensors")
    Description.of("ssd", CLASSES, detect=ssd.detect).save(folder / "ssd")
    return folder


@pytest.fixture
def boxline(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs ``boxline predict`` in an empty folder beside the models."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["predict", "--models", str(models), *map(str, arguments)])

    return run


@pytest.fixture
def noise() -> Callable[..., Image.Image]:
    """Return a function that makes a picture of a size, another one for each seed."""

    def make(width: int, height: int, seed: int = 0) -> Image.Image:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    return make
