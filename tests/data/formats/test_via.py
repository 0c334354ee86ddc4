import json
from typing import Any

import pytest


def region(shape: Any, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes or {"class": "cat"}}


RECT = {"name": "rect", "x": 10, "y": 20, "width": 5, "height": 6}


def dataset(folder: Any, *regions: dict[str, Any], first: str = "0.png") -> None:
    folder.pictures(*(f"{i}.png" for i in range(5)))
    entries = {f"{i}.png9": {"filename": f"{i}.png", "regions": [region(RECT)]} for i in range(1, 5)}
    folder.write("via.json", json.dumps({"0.png9": {"filename": first, "regions": regions}, **entries}))


def boxes(folder: Any) -> list:
    return next(images["0"] for images in folder.contents().values() if "0" in images)


def test_shapes_become_the_boxes_around_them(folder: Any) -> None:
    dataset(
        folder,
        region({"name": "polygon", "all_points_x": [10, 60, 20], "all_points_y": [5, 30, 40]}),
        region({"name": "circle", "cx": 50, "cy": 40, "r": 5}),
        region({"name": "ellipse", "cx": 50, "cy": 40, "rx": 10, "ry": 3, "theta": 0}),
    )
    assert boxes(folder) == [("cat", (10, 5, 60, 40)), ("cat", (45, 35, 55, 45)), ("cat", (40, 37, 60, 43))]


def test_the_class_is_the_usual_attribute_or_a_check_box(folder: Any) -> None:
    dataset(folder, region(RECT, **{"class": {"dog": True, "cat": False}, "occluded": "no"}))
    assert boxes(folder) == [("dog", (10, 20, 15, 26))]


def test_points_are_left_out_and_noted(folder: Any) -> None:
    dataset(folder, region({"name": "point", "cx": 1, "cy": 2}))
    assert folder.report().notes["shape without area"] == [
        "via.json: image 0.png9: region 1: a point (cat) encloses nothing: not used."
    ]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (region({**RECT, "x": None}), "region 1: is a rect of {'name': 'rect', 'x': None"),
        (region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}), "region 1: is a polygon of"),
        (
            region({"name": "star"}),
            "region 1: has the shape 'star'; one of rect, circle, ellipse, polygon would",
        ),
        (region(None), "region 1: has the shape None"),
        (region({"name": ["rect"]}), "region 1: has the shape ['rect']"),
        (region(RECT, **{"class": ""}), "region 1: has '' as 'class'; the name of one class would be right."),
    ],
)
def test_a_wrong_region_is_named(folder: Any, wrong: dict[str, Any], sentence: str) -> None:
    dataset(folder, wrong)
    assert folder.problem().startswith(f"via.json: image 0.png9: {sentence}")


def test_no_attribute_that_is_the_class(folder: Any) -> None:
    dataset(folder, region(RECT, sort="cat", type="x"))
    assert folder.problem() == (
        "via.json: the class must be the only region attribute, or the only one of class, label, name, type, category, "
        "object, object_name; found: 'sort', 'type', 'class'."
    )


def test_an_image_that_is_not_there(folder: Any) -> None:
    dataset(folder, first="other.png")
    assert folder.problem() == (
        "via.json: image 0.png9: has the filename 'other.png', which is not the path or the name of one image."
    )
