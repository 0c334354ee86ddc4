"""The page of `boxline validate --html`: self-contained, and it says what was found."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.reach import Reach
from pipeline.survey.duplicates import Found
from pipeline.survey.page import findings
from pipeline.survey.reach import Reached
from pipeline.survey.statistics import ClassFigures, SplitFigures

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a YOLO folder of twelve pictures; one of train is in test, too, and has the only polygon, of a class."""
    root = tmp_path / "a <b> & c"
    for split, numbers in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 12))):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for number in numbers:
            blobs = np.random.default_rng(0 if number == 11 else number).integers(0, 256, (6, 8, 3), np.uint8)
            image = Image.fromarray(blobs).resize((160, 120), Image.Resampling.BICUBIC)
            image.save(root / f"images/{split}/{number}.png")
            lines = "0 0.5 0.5 0.3 0.3\n" + ("1 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n" if number == 0 else "")
            (root / f"labels/{split}/{number}.txt").write_text(lines)
    (root / "data.yaml").write_text(
        "names: [cell, '<i>rare</i>']\ntrain: images/train\nval: images/val\ntest: images/test\n"
    )
    return root


def test_the_page_holds_all_and_asks_for_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["validate", str(dataset), "--html", "page.html"])
    assert result.exit_code == 0, result.output
    assert "problems: 0" in result.stdout
    text = Path("page.html").read_text(encoding="utf-8")
    HTMLParser().feed(text)
    addresses = re.findall(r'(?:href|src)="([^"]*)"', text)
    assert addresses
    assert all(address.startswith("data:image/webp;base64,") for address in addresses)
    assert not re.search(r"<script|https?:|url\(|@import", text)
    assert "<i>rare</i>" not in text
    assert "a &lt;b&gt; &amp; c" in text
    # 160 x 120 pixels, a quarter of a pixel inside; once in the gallery, once beside its twin.
    assert re.findall('<path d="M([^"]*)Z"/>', text) == ["16.25 12.25 16.25 35.75 47.75 35.75 47.75 12.25"] * 2
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)))
    assert "12 images, 13 objects, 2 classes" in shown
    assert "1 image of test is the same as one of train, or nearly." in shown
    assert "val has no object of &lt;i&gt;rare&lt;/i&gt;." in shown
    assert "the same file" in shown
    assert "the preset folder" in shown
    assert "tried on 9 training images" in shown
    for key in ("proposals", "faster_rcnn.anchors", "ssd.default_boxes", "yolo.side"):
        assert f"<code>{key}</code>" in text
    assert "prefers-color-scheme: dark" in text


def test_a_folder_that_cannot_be_used_gives_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["validate", "empty", "--html", "page.html"])
    assert result.exit_code == 1
    assert not Path("page.html").exists()


def test_findings_are_what_stands_out() -> None:
    fine = SplitFigures(5, 0, 9, 0, 2.0, 3)
    known = ClassFigures(1, {"train": 9}, 5, (9, 0, 0), [1, 2, 3], [1, 1, 1], [])
    low, usual = Reach("are x", 0.5, "k", "y"), Reach("are x", 0.5, "k", "y", judged=False)
    nothing = Reached("p", 5, 5, 0, [usual], {})
    assert findings({"train": fine}, {"a": known}, Found([], 0), nothing) == []
    lacking = {f"c{number}": replace(known, missing=["train"]) for number in range(12)}
    (sentence,) = findings({"train": fine}, lacking, Found([], 0), nothing)
    assert sentence == "train has no object of c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more classes."
    reached = Reached("p", 5, 5, 0, [], {"SSD": [low]})
    assert findings({"train": fine}, {"a": known}, Found([], 0), reached) == ["SSD: only 50.0% of the objects are x."]
