from pathlib import Path

import pytest

from pipeline.data.formats.tree import Tree, split_of
from pipeline.data.report import Report


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train", "train"),
        ("images/val2017", "val"),
        ("a/valid/images", "val"),
        ("Testing", "test"),
        ("trainval", "trainval"),
        ("obj_train_data", "train"),
        ("train/test", "test"),
        ("trains", None),
        ("trained/tests", None),
        ("", None),
    ],
)
def test_the_split_that_a_path_names(path: str, split: str | None) -> None:
    assert split_of(path) == split


def test_links_are_followed_once_and_hidden_files_left_out(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    for folder in (root / ".cache", elsewhere):
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
    (root / "images").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(root)
    (root / "lost.png").symlink_to(tmp_path / "nowhere")
    assert Tree(root).files == ("images/a.png",)


def test_the_image_that_a_path_means(tmp_path: Path) -> None:
    for file in ("train/1.jpg", "val/1.jpg", "val/2.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    tree = Tree(tmp_path)
    assert tree.image_named("1.jpg", "train/boxes.csv") == "train/1.jpg"
    assert tree.image_named("1.jpg", "boxes.csv") is None
    assert tree.image_named("/home/me/val/1.jpg", "boxes.csv") == "val/1.jpg"
    assert tree.image_named("..\\val\\2.png", "train/boxes.csv") == "val/2.png"
    assert tree.image_named("2", "boxes.csv") == "val/2.png"
    assert tree.image_named("train/2.png", "boxes.csv") is None
    assert tree.image_named("", "boxes.csv") is None


def test_a_line_of_a_list_is_one_name_that_may_hold_blanks(tmp_path: Path) -> None:
    for file in ("a b.jpg", "c  d.e.png", "f.png", "g .png"):
        (tmp_path / file).touch()
    (tmp_path / "train.txt").write_text("a b.jpg\n  c  d.e \n./g .png\n")
    (tmp_path / "test.txt").write_text("f.png a b.jpg\nf, g\n")
    report = Report()
    lists = Tree(tmp_path).split_lists(report)
    assert list(lists["train"]) == ["a b.jpg", "c  d.e.png", "g .png"]
    assert report.problems == [
        "test.txt:1: names 'f.png a b.jpg', which is not the path or the name of one image.",
        "test.txt:2: names 'f, g', which is not the path or the name of one image.",
    ]
