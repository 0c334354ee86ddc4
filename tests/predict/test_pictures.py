"""From what a person names to the list of files, and from files to batches."""

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.predict import pictures as pictures_module
from pipeline.predict.pictures import NoPictureError, Picture, batches, find_pictures, natural_order, printable


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "a/img10.png",
        "a/img2.png",
        "a/IMG1.JPG",
        "a/deep/x.tif",
        "a/notes.txt",
        "a/.hidden.png",
        "b/img2.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a/.cache").mkdir()
    (tmp_path / "a/.cache/y.png").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(*arguments: str, exclude: Path | None = None) -> list[str]:
    return [str(picture.path) for picture in find_pictures(arguments, exclude)]


def outs(*arguments: str) -> list[str]:
    return [str(picture.out) for picture in find_pictures(arguments)]


def test_a_folder_gives_its_pictures_in_natural_order_and_nothing_else(folder: Path) -> None:
    assert named("a") == ["a/deep/x.tif", "a/IMG1.JPG", "a/img2.png", "a/img10.png"]


def test_a_named_file_is_taken_whatever_its_ending(folder: Path) -> None:
    assert named("a/notes.txt", "a/.hidden.png") == ["a/notes.txt", "a/.hidden.png"]


def test_arguments_keep_their_order_and_a_picture_comes_once(folder: Path) -> None:
    assert named("b", "a/img2.png", "./a/img2.png", "a", str(folder / "b/img2.png")) == [
        "b/img2.png",
        "a/img2.png",
        "a/deep/x.tif",
        "a/IMG1.JPG",
        "a/img10.png",
    ]


def test_patterns_are_filled_in_and_may_match_folders(folder: Path) -> None:
    assert named("a/img*.png") == ["a/img2.png", "a/img10.png"]
    assert named("**/x.*") == ["a/deep/x.tif"]
    assert named("[b]") == ["b/img2.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "a/img[2].png").touch()
    assert named("a/img[2].png") == ["a/img[2].png"]


def test_results_keep_subfolders_and_never_meet(folder: Path) -> None:
    (folder / "a/img2.jpg").touch()  # its annotation would be img2.xml, too
    (folder / "a/img2_2.png").touch()
    expected = ["deep/x.tif", "IMG1.JPG", "img2.jpg", "img2_2.png", "img2_2_2.png", "img10.png"]
    assert outs("a") == expected
    assert outs("a/img2.png", "b") == ["img2.png", "img2_2.png"]


def test_names_that_differ_in_case_alone_do_not_meet_on_any_file_system(folder: Path) -> None:
    (folder / "b/IMG2.jpg").touch()
    assert {out.casefold() for out in outs("b")} == {"img2.jpg", "img2_2.png"}


def test_a_folder_of_results_is_not_searched(folder: Path) -> None:
    (folder / "a/found/pictures").mkdir(parents=True)
    (folder / "a/found/pictures/x.png").touch()
    assert "a/found/pictures/x.png" in named("a")
    assert "a/found/pictures/x.png" not in named("a", exclude=Path("a/found"))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("absent.png", "no such file"),
        ("*.gif", "no file matches"),
        ("empty", "holds no picture"),
        ("x" * 300, "name too long"),
    ],
)
def test_what_names_no_picture_is_wrong_use(folder: Path, argument: str, words: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(NoPictureError, match=words) as error:
        find_pictures(["a", argument])
    assert argument[:60] in str(error.value)


def test_links_to_themselves_and_pipes_in_a_folder(folder: Path) -> None:
    (folder / "a/deep/self.png").symlink_to("self.png")
    (folder / "a/deep/again").symlink_to("..")
    os.mkfifo(folder / "a/deep/pipe.png")
    assert named("a/deep", exclude=folder / "out") == ["a/deep/self.png", "a/deep/x.tif"]


def test_names_are_printable(folder: Path) -> None:
    (folder / "b/odd\n\udcff.png").touch()
    (odd,) = find_pictures(["b/odd*"])
    assert odd.name == "b/odd??.png"
    assert str(odd.out) == "odd??.png"
    assert odd.path.exists()
    assert printable("größe 図.png") == "größe 図.png"


@given(st.lists(st.from_regex(r"[a-c]{0,2}[0-9]{0,3}[a-c]{0,2}", fullmatch=True).filter(bool), min_size=1))
def test_natural_order_is_an_order_of_any_names(names: list[str]) -> None:
    keys = [natural_order(PurePosixPath(name)) for name in set(names)]
    assert all((one < other) + (other < one) == (one != other) for one in keys for other in keys)
    assert all(one != other for place, one in enumerate(keys) for other in keys[:place])


def test_numbers_count_as_numbers() -> None:
    names = ["x2/1", "x10/1", "x10/a", "x10/A2", "x10/a10", "x010/b"]
    assert [str(p) for p in sorted(map(PurePosixPath, reversed(names)), key=natural_order)] == [
        "x2/1", "x10/1", "x10/a", "x10/A2", "x10/a10", "x010/b",
    ]  # fmt: skip


def listed(folder: Path, *sizes: tuple[int, int] | None) -> list[Picture]:
    """Write a picture of each size; a broken file for None."""
    pictures = []
    for number, size in enumerate(sizes, 1):
        path = folder / f"{number}.png"
        if size is None:
            path.write_text("broken")
        else:
            Image.new("RGB", size, (number, 0, 0)).save(path)
        pictures.append(Picture(path, PurePosixPath(path.name)))
    return pictures


def test_batches_keep_the_order_and_hold_only_readable_pictures(tmp_path: Path) -> None:
    files = listed(tmp_path, (8, 8), None, (9, 8), (8, 9), None, (7, 7), None)
    groups = list(batches(files, 2, keep_full=False))
    assert [[one.number for one in read] for read, _ in groups] == [[1, 3], [4, 6], []]
    assert [[one.picture.path.stem for one in broken] for _, broken in groups] == [["2"], ["5"], ["7"]]
    assert [one.reduced[0, 0, 0] for read, _ in groups for one in read] == [1, 3, 4, 6]
    assert all(one.full is None for read, _ in groups for one in read)


def test_pictures_to_be_drawn_end_a_batch_by_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures_module, "BATCH_PIXELS", 1000)
    files = listed(tmp_path, (40, 40), (20, 20), (20, 20), (20, 20), (10, 10))
    assert [len(read) for read, _ in batches(files, 8, keep_full=True)] == [1, 3, 1]
    assert [len(read) for read, _ in batches(files, 8, keep_full=False)] == [5]
