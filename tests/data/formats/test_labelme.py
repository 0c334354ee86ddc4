import json
import math
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image


def dataset(folder: Any, *shapes: dict[str, Any]) -> None:
    for i in range(5):
        folder.pictures(f"{i}.png")
        square = {"label": "cat", "shape_type": "rectangle", "points": [[10, 10], [20, 20]]}
        folder.write(f"{i}.json", json.dumps({"shapes": list(shapes) if i == 0 else [square]}))


def shape(points: Any, kind: str = "polygon", label: Any = "cat") -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points}


def boxes(folder: Any) -> list:
    return next(images["0"] for images in folder.contents().values() if "0" in images)


def test_shapes_become_the_boxes_around_them(folder: Any) -> None:
    dataset(
        folder,
        shape([[10, 5], [60, 30], [20, 40]]),
        shape([[50, 40], [53, 44]], "circle"),
        shape([[9, 8], [3, 2]], "rectangle", " dog "),
    )
    assert boxes(folder) == [("cat", (10, 5, 60, 40)), ("cat", (45, 35, 55, 45)), ("dog", (3, 2, 9, 8))]


def test_points_and_lines_are_left_out_and_noted(folder: Any) -> None:
    dataset(folder, shape([[1, 1]], "point"), shape([[1, 1], [9, 9]], "line"))
    assert folder.report().notes["shape without area"] == [
        "0.json: shape 1: a point (cat) encloses nothing: not used.",
        "0.json: shape 2: a line (cat) encloses nothing: not used.",
    ]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (shape([[1, 1], [2, 2]]), "has [[1, 1], [2, 2]] as 'points'; pairs [x, y], as many as a polygon has, would be"),
        (shape([[1, True], [2, 2]], "rectangle"), "has [[1, True], [2, 2]] as 'points'"),
        (shape(None), "has None as 'points'"),
        (shape([[1, 1]], "star"), "has the shape_type 'star'; one of rectangle, polygon, circle, mask"),
        (shape([[1, 1]], "point", None), "has None as 'label'; a text would be right."),
    ],
)
def test_a_wrong_shape_is_named(folder: Any, wrong: dict[str, Any], sentence: str) -> None:
    dataset(folder, shape([[1, 1], [5, 5]], "rectangle"), wrong)
    assert folder.problem().startswith(f"0.json: shape 2: {sentence}")


def test_files_that_are_broken_or_have_no_image(folder: Any) -> None:
    dataset(folder)
    folder.write("3.json", '{\n"shapes": [')
    folder.write("4.json", '{"shapes": 5}')
    folder.write("lost.json", '{"shapes": []}')
    problems = folder.report().problems
    assert problems[0] == "lost.json: this annotation has no image of its name."
    assert problems[1].startswith("3.json:2: this is not JSON (")
    assert problems[2] == "4.json: has no list of mappings called 'shapes'."


def bitmap(points: Any, mask: Any) -> dict[str, Any]:
    return shape(points, "mask") | {"mask": mask}


def png(pixels: np.ndarray) -> str:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (bitmap([[1, 1], [4, 4]], "x"), "shape 1: has a 'mask' that is not in base64 ("),
        (bitmap([[1, 1], [4, 4]], 5), "shape 1: has a 'mask' that is not in base64 ("),
        (
            bitmap([[1, 1], [4, 4]], b64encode(b"no png").decode()),
            "shape 1: mask: the mask is no image that Pillow knows; a PNG",
        ),
        (
            bitmap([[158, 1], [161, 4]], png(np.ones((4, 4), bool))),
            "shape 1: has a 'mask' of 4 x 4 pixels at (158, 1) in an image of 160 x 80; one inside of its image would",
        ),
        (
            bitmap([[math.nan, 1], [161, 4]], png(np.ones((4, 4), bool))),
            "shape 1: has a 'mask' of 4 x 4 pixels at (nan",
        ),
    ],
)
def test_a_wrong_bitmap_is_named(folder: Any, wrong: dict[str, Any], sentence: str) -> None:
    dataset(folder)
    folder.write("0.json", json.dumps({"imageWidth": 160, "imageHeight": 80, "shapes": [wrong]}))
    assert folder.problem().startswith(f"0.json: {sentence}")


def test_a_bitmap_covers_its_last_point(folder: Any) -> None:
    dataset(folder, bitmap([[1, 2], [4, 3]], png(np.ones((2, 4), bool))))
    assert boxes(folder) == [("cat", (1, 2, 4, 3))]  # without the image's size only the points count
    content = json.loads((folder.root / "0.json").read_text())
    folder.write("0.json", json.dumps(content | {"imageWidth": 160, "imageHeight": 80}))
    assert boxes(folder) == [("cat", (1, 2, 5, 4))]
