"""The sheet of a batch: a tile for each picture, a box for each mark, and what the command refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image
from typer.testing import CliRunner

from pipeline import registry
from pipeline.batch_view import Marks, Role, SeenPicture
from pipeline.cli import app
from pipeline.core.boxes import as_boxes
from pipeline.data.index import ImageRecord, Index
from pipeline.inspect.batch import counts, figure, render

ROOT = Path(__file__).resolve().parents[2]
BOX = as_boxes([[10, 10, 30, 30]])


def picture(level: int, *marks: Marks) -> SeenPicture:
    return SeenPicture(str(level), np.full((40, 60, 3), level, np.uint8), marks)


@pytest.fixture
def pictures() -> list[SeenPicture]:
    positive = Marks(Role.POSITIVE, "cat", np.concatenate([BOX, BOX + 5]), 1)
    negative, truth = Marks(Role.NEGATIVE, "background", BOX + 1), Marks(Role.OBJECT, "object", BOX, texts=("cat",))
    return [picture(10, negative, positive, truth), picture(20, positive), picture(30)]


def test_a_sheet_has_a_tile_for_each_picture_and_a_box_for_each_mark(pictures: list[SeenPicture]) -> None:
    tiles = figure(pictures).axes
    assert [tile.images[0].get_array().flat[0] for tile in tiles] == [10, 20, 30]
    assert [tile.get_title(loc="left") for tile in tiles] == ["10", "20", "30"]
    # An object is drawn twice: dashes on black.
    assert [sum(isinstance(each, Rectangle) for each in tile.patches) for tile in tiles] == [1 + 2 + 2, 2, 0]
    assert [[text.get_text() for text in tile.texts] for tile in tiles] == [["cat"], [], []]


def test_tiles_do_not_overlap_whatever_their_number() -> None:
    for number in (1, 2, 5, 12, 128):
        sheet = figure([picture(each) for each in range(number)])
        assert len(sheet.axes) == number
        places = np.array([axis.get_position().extents for axis in sheet.axes])
        assert (places >= 0).all()
        assert (places <= 1).all()
        for one in range(number):
            apart = (places[:, :2] >= places[one, 2:] - 1e-9).any(1) | (places[:, 2:] <= places[one, :2] + 1e-9).any(1)
            assert np.flatnonzero(~apart).tolist() == [one]


def test_kinds_are_counted_over_all_pictures(pictures: list[SeenPicture]) -> None:
    found = [(each.marks.name, each.total, each.pictures) for each in counts(pictures)]
    assert found == [("object", 1, 1), ("cat", 4, 2), ("background", 1, 1)]
    assert "cat              4            2" in render(pictures, "title").text()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project of four training images, with an index and no more."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    Path("data/fetched").mkdir(parents=True)
    images = []
    for number in range(1, 5):
        Image.new("RGB", (96, 96), (40 * number, 0, 0)).save(f"data/fetched/{number}.png")
        images.append(ImageRecord(number, f"{number}.png", 96, 96, "", BOX, np.array([1]), np.zeros(1, np.bool_)))
    Index(("cat", "dog"), tuple(images)).save(Path("data/index/train.json"))
    Index(("cat", "dog"), ()).save(Path("data/index/val.json"))
    return tmp_path


def test_the_command_needs_only_what_the_training_reads(project: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", "batch", "ssd", "--step", "7", "--png", "b.png", "--html", "b.html"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Step 7 of ssd, train\n8 pictures\n")
    assert result.stdout.endswith("wrote b.png\nwrote b.html\n")
    assert Image.open("b.png").format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rcnn"], 1, "proposals/train.h5: there are no proposals; the stage proposals writes them"),
        (["sppnet"], 1, "features/sppnet/train.zarr"),
        (["faster_rcnn", "--stage", "detector@1"], 1, "the stage systems/faster_rcnn/dvc.yaml:proposals@1 writes them"),
        (["faster_rcnn", "--stage", "train"], 2, "has no training train"),
        (["ssd", "--step", "800"], 2, "800 is none of the 800 steps of train"),
        (["ssd", "--step", "-1"], 2, "greater than or equal to 0"),
        (["unknown"], 2, "no system is called unknown"),
    ],
)
def test_what_cannot_be_shown_is_named(project: Path, arguments: list[str], code: int, words: str) -> None:
    result = CliRunner().invoke(app, ["inspect", "batch", *arguments])
    assert result.exit_code == code, result.output
    assert words in " ".join(result.stderr.split())


def test_a_system_that_trains_on_no_batches_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = registry.all_systems()
    changed = {**known, "ssd": replace(known["ssd"], trainings=())}
    monkeypatch.setattr(registry, "all_systems", lambda: changed)
    result = CliRunner().invoke(app, ["inspect", "batch", "ssd"])
    assert result.exit_code == 2
    assert "ssd trains no network on batches" in " ".join(result.stderr.split())


def test_help_lists_the_trainings() -> None:
    text = " ".join(CliRunner().invoke(app, ["inspect", "batch", "--help"]).stdout.split())
    assert "faster_rcnn rpn@1, detector@1, rpn@2, detector@2; yolo train" in text
