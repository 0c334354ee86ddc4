"""``boxline predict`` as a person uses it: files, output, exit codes."""

import json
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
from faster_coco_eval import COCO
from PIL import Image

from pipeline.core.boxes import from_voc, from_xywh
from pipeline.core.storage import write_json
from pipeline.data.images import read_image
from pipeline.data.voc import parse_annotation
from pipeline.predict import pictures
from pipeline.registry import all_systems, load

LOW = ("--system", "ssd", "--threshold", "0.3")


@pytest.fixture
def two(noise) -> None:
    """Make two pictures of different sizes in the current folder."""
    Path("in/deep").mkdir(parents=True)
    noise(120, 90, 1).save("in/one.png")
    noise(200, 150, 2).save("in/deep/two.jpg")


def test_each_picture_gets_a_line(boxline, two: None) -> None:
    result = boxline("in", *LOW)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["in/deep/two.jpg", "in/one.png"]
    assert all(" found: " in line and " more" in line and line.count(" 0.") == 5 for line in lines)
    assert "ssd: 2 images, 0 errors, " in result.stderr
    assert result.stderr.endswith(" images/s\n")


def test_nothing_found_is_said(boxline, two: None) -> None:
    assert boxline("in/one.png", "--system", "ssd", "--threshold", "2").stdout == "in/one.png: 0 found\n"


def test_the_results_are_those_of_the_detector_in_python(boxline, two: None, models: Path) -> None:
    content = json.loads(boxline("in", *LOW, "--json").stdout)
    found = load("ssd", models, "cpu").detect(["in/deep/two.jpg", Path("in/one.png")])
    for number, own in enumerate(found, 1):
        rows = [row for row in content["annotations"] if row["image_id"] == number]
        good = own.scores >= np.float32(0.3)
        assert 5 < len(rows) == good.sum()
        np.testing.assert_array_equal(np.float32([row["score"] for row in rows]), own.scores[good])
        assert [row["category_id"] for row in rows] == own.labels[good].tolist()
        np.testing.assert_allclose(from_xywh([row["bbox"] for row in rows]), own.boxes[good], atol=0.011)


def test_each_class_is_shown_from_its_best_f1_where_the_models_bring_it(
    boxline, two: None, models: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(models, copied)
    found = load("ssd", models, "cpu").detect(["in/one.png"])[0]
    red = found.scores[found.labels == 1]
    write_json(copied / "thresholds/ssd.json", {"system": "ssd", "thresholds": {"red": float(red[3]), "blue": 2}})
    shown = ("in/one.png", "--system", "ssd", "--json", "--models", copied)
    rows = json.loads(boxline(*shown).stdout)["annotations"]
    assert [row["category_id"] for row in rows] == [1] * 4
    np.testing.assert_array_equal(np.float32([row["score"] for row in rows]), red[:4])
    every = json.loads(boxline(*shown, "--threshold", "0.3").stdout)["annotations"]
    assert len(every) == (found.scores >= np.float32(0.3)).sum() > 4


def test_without_thresholds_a_system_is_shown_from_its_own(boxline, two: None, models: Path) -> None:
    found = load("ssd", models, "cpu").detect(["in/one.png"])[0]
    rows = json.loads(boxline("in/one.png", "--system", "ssd", "--json").stdout)["annotations"]
    assert len(rows) == (found.scores >= np.float32(0.5)).sum()


def test_json_loads_as_a_coco_dataset_and_as_coco_results(boxline, two: None) -> None:
    Path("in/broken.png").write_text("no picture")
    result = boxline("in", *LOW, "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["categories"] == [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
    assert content["images"] == [
        {"id": 2, "file_name": "in/deep/two.jpg", "width": 200, "height": 150},
        {"id": 3, "file_name": "in/one.png", "width": 120, "height": 90},
    ]
    assert content["errors"] == [{"file_name": "in/broken.png", "error": "the file is no image that Pillow knows"}]
    dataset = COCO(content)
    again = dataset.loadRes(content["annotations"])
    assert len(again.anns) == len(dataset.anns) == len(content["annotations"]) > 10


def test_a_folder_of_results(boxline, two: None) -> None:
    result = boxline("in", *LOW, "--out", "found")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "see found" in result.stderr
    files = {str(path.relative_to("found")) for path in Path("found").rglob("*") if path.is_file()}
    assert files == {
        "pictures/one.png",
        "pictures/deep/two.jpg",
        "Annotations/one.xml",
        "Annotations/deep/two.xml",
        "detections.json",
    }
    drawn, original = read_image(Path("found/pictures/one.png")), read_image(Path("in/one.png"))
    assert drawn.shape == original.shape
    assert (drawn != original).any()
    with Image.open("found/pictures/deep/two.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (200, 150))


def test_voc_annotations_come_back_as_the_boxes_in_whole_pixels(boxline, two: None) -> None:
    boxline("in", *LOW, "--out", "found")
    content = json.loads(Path("found/detections.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    for image in content["images"]:
        path = Path("found/Annotations", Path(image["file_name"]).relative_to("in").with_suffix(".xml"))
        annotation = parse_annotation(path, path.name)
        assert annotation.size == (image["width"], image["height"])
        rows = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        assert [item.name for item in annotation.objects] == [names[row["category_id"]] for row in rows]
        boxes = from_voc([item.corners for item in annotation.objects])
        assert (boxes == np.rint(boxes)).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        np.testing.assert_allclose(boxes, from_xywh([row["bbox"] for row in rows]), atol=0.52)


def test_a_second_run_does_not_look_at_the_first_one_s_pictures(boxline, two: None) -> None:
    for _ in range(2):
        assert "2 images" in boxline("in", *LOW, "--out", "in/found").stderr


def test_out_and_json_give_the_same_content(boxline, two: None) -> None:
    result = boxline("in", *LOW, "--out", "found", "--json")
    assert json.loads(result.stdout) == json.loads(Path("found/detections.json").read_text())


def test_large_pictures_are_reduced_for_the_detector_alone(boxline, noise, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(1200, 600, 4).save("large.png")
    plain = json.loads(boxline("large.png", *LOW, "--json").stdout)
    boxline("large.png", *LOW, "--out", "found")
    with Image.open("found/pictures/large.png") as picture:
        assert picture.size == (1200, 600)
    monkeypatch.setattr(pictures, "LONGEST_SIDE", 1200)
    full = json.loads(boxline("large.png", *LOW, "--json").stdout)
    assert plain["images"] == full["images"]
    best, other = (from_xywh([row["bbox"] for row in content["annotations"][:3]]) for content in (plain, full))
    np.testing.assert_allclose(best, other, atol=6)  # it sees nearly the same square


def test_boxes_lie_in_the_upright_picture(boxline, noise) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(160, 80, 5).save("turned.jpg", exif=exif)
    content = json.loads(boxline("turned.jpg", *LOW, "--json", "--out", "found").stdout)
    assert content["images"][0] | {"id": 0} == {"id": 0, "file_name": "turned.jpg", "width": 80, "height": 160}
    boxes = from_xywh([row["bbox"] for row in content["annotations"]])
    assert (boxes[:, 2:] <= [80.01, 160.01]).all()
    assert boxes[:, 3].max() > 80
    with Image.open("found/pictures/turned.jpg") as picture:
        assert (picture.size, picture.getexif().get(0x0112)) == ((80, 160), None)


def mixed(folder: Path, noise, count: int) -> None:
    """Write pictures of all modes and many sizes, below a folder."""
    modes = {"RGB": "jpg", "L": "png", "CMYK": "jpg", "P": "png", "RGBA": "png", "1": "tif", "LA": "png", "I;16": "png"}
    for number in range(count):
        mode, ending = list(modes.items())[number % len(modes)]
        width, height = (1, 1) if number == 0 else (20 + number % 97, 30 + number % 61)
        picture = noise(width, height, number)
        if mode == "I;16":
            wide = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        else:
            wide = picture.convert(mode)
        wide.save(folder / f"{number}.{ending}")


@pytest.mark.slow
def test_195_of_200_pictures_give_results_and_five_are_named(boxline, noise) -> None:
    Path("in").mkdir()
    mixed(Path("in"), noise, 195)
    whole = Path("in/40.jpg").read_bytes(), Path("in/41.png").read_bytes()
    for name, content in {
        "empty.jpg": b"",
        "text.png": b"a line of text",
        "cut.jpg": whole[0][: len(whole[0]) * 2 // 3],
        "cut.png": whole[1][: len(whole[1]) * 2 // 3],
        "zeros.tif": bytes(200),
    }.items():
        Path("in", name).write_bytes(content)
    result = boxline("in", *LOW, "--out", "found")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert sorted(line.split()[1] for line in errors) == [
        f"in/{name}:" for name in ("cut.jpg", "cut.png", "empty.jpg", "text.png", "zeros.tif")
    ]
    assert all(line.endswith(".") for line in errors)
    assert "ssd: 195 images, 5 errors, " in result.stderr.splitlines()[-1]
    content = json.loads(Path("found/detections.json").read_text())
    assert (len(content["images"]), len(content["errors"])) == (195, 5)
    for kind in ("pictures", "Annotations"):
        assert len(list(Path("found", kind).iterdir())) == 195


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pictures(boxline, noise) -> None:
    Path("in").mkdir()
    for number in range(8):
        noise(600, 600, number).save(f"in/{number}.jpg")
    process, resident = psutil.Process(), {}
    for copies in (50, 200):
        for number in range(copies):
            target = Path(f"in/{number}.jpg")
            if not target.exists():
                target.hardlink_to(f"in/{number % 8}.jpg")
        assert boxline("in", "--system", "ssd", "--out", "found").exit_code == 0
        resident[copies] = process.memory_info().rss
    kept = 150 * 600 * 600 * 3  # what the further pictures take, were they kept: 162 MB
    assert resident[200] - resident[50] < kept / 3


def test_several_systems_have_a_folder_each(boxline, two: None, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only = {"ssd": all_systems()["ssd"]}
    monkeypatch.setattr("pipeline.registry.all_systems", lambda: only)
    Path("in/broken.png").write_text("no picture")
    result = boxline("in", "--system", "all", "--threshold", "0.3", "--out", "found", "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content == {"ssd": json.loads(Path("found/ssd/detections.json").read_text())}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("in",), "--system"),
        (("--system", "ssd"), "IMAGE|FOLDER|GLOB"),
        (("in", "--system", "r_fcn"), f"no system is called 'r_fcn'; there are {', '.join(all_systems())}"),
        (("absent.jpg", "--system", "ssd"), "absent.jpg: there is no such file"),
        (("in", "--system", "ssd", "--threshold", "high"), "--threshold"),
        (("in", "--system", "ssd", "--device", "abacus"), "'abacus' cannot be used here"),
        (("in", "--system", "ssd", "--out", "in/one.png"), "--out"),
    ],
)
def test_wrong_use_exits_with_2(boxline, two: None, arguments: tuple[str, ...], words: str) -> None:
    result = boxline(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in " ".join(result.stderr.split()).replace("│ ", "")


def test_missing_models_name_the_stage(boxline, two: None) -> None:
    for system, first in (("yolo", "yolo"), ("all", next(iter(all_systems())))):
        result = boxline("in", "--system", system)
        assert result.exit_code == 1
        assert f"the stage systems/{first}/dvc.yaml:detect writes it" in result.stderr


def test_results_that_cannot_be_written_are_a_sentence(boxline, two: None) -> None:
    Path("found").mkdir()
    Path("found/pictures").write_text("in the way")
    result = boxline("in", *LOW, "--out", "found")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: found/pictures")
    assert not Path("found/detections.json").exists()
