"""Images and regions by what a person types."""

import pytest
from pipeline.inspect.reading.image_lookup import check_region, find_image, parse_region

from pipeline.core.errors import InputError
from pipeline.data.index import ImageRecord, Index


def split(*files: tuple[int, str]) -> Index:
    return Index(("a",), tuple(ImageRecord(number, file, 10, 10, "") for number, file in files))


INDEXES = {
    "train": split((1, "images/7.png"), (2, "images/cat_10.png")),
    "test": split((7, "images/cat_11.png"), (8, "images/cat.png"), (9, "images/Dog.JPG")),
}


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("2", ("train", 1)),
        ("7", ("test", 0)),  # an id goes before a name
        ("7.png", ("train", 0)),
        ("images/cat_10.png", ("train", 1)),
        ("cat", ("test", 1)),  # a whole name goes before a part of others
        ("cat_11", ("test", 0)),
        ("_10", ("train", 1)),
        ("dog", ("test", 2)),
    ],
)
def test_an_image_is_found_by_id_name_or_part(wanted: str, place: tuple[str, int]) -> None:
    found = find_image(wanted, INDEXES)
    assert (found.split, found.position) == place
    assert found.record is INDEXES[found.split].images[found.position]


def test_several_images_are_listed() -> None:
    with pytest.raises(InputError, match=r"^cat_1: 2 images are meant, cat_10\.png \(id 2\), cat_11\.png \(id 7\);"):
        find_image("cat_1", INDEXES)


def test_an_unknown_image_is_answered_with_those_that_exist() -> None:
    many = {"test": split(*((number, f"{number:04d}.png") for number in range(1, 10)))}
    with pytest.raises(
        InputError, match=r"horse: no image of test .* 0001\.png \(id 1\), .* 0006\.png \(id 6\), 3 more"
    ):
        find_image("horse", many)
    with pytest.raises(InputError, match="there are none"):
        find_image("", {"test": split()})


def test_a_region_is_named_behind_the_last_colon() -> None:
    assert parse_region("a:b.png:12") == ("a:b.png", 12)
    for text in ("a.png", "a.png:", ":3", "a.png:-1", "a.png:x"):
        with pytest.raises(InputError, match=r"IMAGE:REGION is expected"):
            parse_region(text)


def test_a_region_must_exist() -> None:
    image = INDEXES["test"].images[0]
    check_region(4, image, 5)
    with pytest.raises(InputError, match=r"cat_11\.png: region 5 does not exist; there are 5, .* objects \(0\)"):
        check_region(5, image, 5)
