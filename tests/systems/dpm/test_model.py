"""Part models on disk, mirror images, and boxes from the places of filters."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.boxes import clip
from pipeline.core.errors import InputError
from pipeline.core.sections import Hog
from pipeline.features.hog_pyramid import WindowShape, descriptor_of
from pipeline.linear.box_fit import fit_boxes
from pipeline.linear.templates import root_cells
from pipeline.systems.dpm.model import DpmModel, box_inputs, views_of
from tests.systems.dpm.conftest import random_look

DESCRIPTOR = descriptor_of(Hog(descriptor="felzenszwalb"))


def model() -> DpmModel:
    looks = (random_look(2, WindowShape(3, 2, 1), 12, 1), random_look(1, WindowShape(4, 3, 1), 0, 2))
    looks = (looks[0], replace(looks[1], bias=float("-inf")))
    rng = np.random.default_rng(0)
    boxes = tuple(rng.normal(size=(3 + 2 * parts, 4)).astype(np.float32) for parts in (12, 12, 0, 0))
    return DpmModel(looks, True, boxes)


def test_a_saved_model_comes_back_and_its_bytes_repeat(tmp_path: Path) -> None:
    model().save(tmp_path / "a.safetensors")
    model().save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    found = DpmModel.load(tmp_path / "a.safetensors", "stage")
    assert found.mirror
    for own, other in zip(found.looks, model().looks, strict=True):
        assert (own.component, own.bias) == (other.component, other.bias)
        assert [part.anchor for part in own.parts] == [part.anchor for part in other.parts]
        np.testing.assert_array_equal(own.root, other.root)
        for part, same in zip(own.parts, other.parts, strict=True):
            np.testing.assert_array_equal(part.weights, same.weights)
            np.testing.assert_array_equal(part.cost, same.cost)
    for own, other in zip(found.boxes, model().boxes, strict=True):
        np.testing.assert_array_equal(own, other)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parts.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no part models can be read .*; the stage parts writes them"):
        DpmModel.load(tmp_path / "parts.safetensors", "parts")


def test_a_look_mirrored_twice_is_itself_and_shares_its_weights() -> None:
    look = model().looks[0]
    own, turned = views_of([look], True, DESCRIPTOR)
    assert (own.flipped, turned.flipped, turned.origin) == (False, True, 0)
    back = turned.look.mirrored(DESCRIPTOR)
    np.testing.assert_array_equal(back.parameters(1), look.parameters(1))
    assert [part.anchor for part in back.parts] == [part.anchor for part in look.parts]
    assert len(views_of([look], False, DESCRIPTOR)) == 1


def test_the_sides_of_the_released_root_rule() -> None:
    sizes = np.array([(50, 100), (52, 110), (47, 90), (51, 105), (49, 95)], np.float32)
    assert root_cells(sizes, (3000, 5000)) == (12, 6)


def placed(rng: np.random.Generator, count: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return windows, some of them beyond an image of 200 x 200, and filters anywhere in them."""
    corners = rng.uniform(-20, 150, (count, 2))
    windows = np.concatenate([corners, corners + 60], axis=1).astype(np.float32)
    first = corners[:, None] + rng.uniform(0, 40, (count, parts, 2))
    filters = np.concatenate([windows[:, None], np.concatenate([first, first + 20], axis=2)], axis=1)
    return windows, filters.astype(np.float32)


def test_box_prediction_has_19_inputs_for_eight_parts() -> None:
    windows, filters = placed(np.random.default_rng(1), 50, 8)
    clipped = clip(windows, 200, 200)
    inputs = box_inputs(clipped, filters)
    assert inputs.shape == (50, 19)
    assert (inputs[:, -1] == 1).all()
    beyond = (windows != clipped).any(axis=1)
    assert not inputs[~beyond, :2].any()  # the root's own columns say how much of the window was cut off
    assert inputs[beyond, :2].any(axis=1).all()
    one = [(filters[3, 5, 0] + filters[3, 5, 2]) / 2 - (clipped[3, 0] + clipped[3, 2]) / 2]
    assert inputs[3, 10] == pytest.approx(one[0] / (clipped[3, 2] - clipped[3, 0]), abs=1e-5)


def test_objects_lie_where_the_parts_say() -> None:
    """The left edge follows the first part, the bottom the second; least squares finds it."""
    rng = np.random.default_rng(2)
    windows, filters = placed(rng, 200, 2)
    objects = windows.copy()
    objects[:, 0] += (filters[:, 1, 0] - windows[:, 0]) / 2
    objects[:, 3] -= (windows[:, 3] - filters[:, 2, 3]) / 3
    inside = (windows == clip(windows, 200, 200)).all(axis=1)
    fitted = fit_boxes(
        box_inputs(windows[inside][:20], filters[inside][:20]), windows[inside][:20], objects[inside][:20]
    )
    found = DpmModel((), False, (fitted,)).predicted(0, filters[inside][20:], (200, 200))
    np.testing.assert_allclose(found, objects[inside][20:], atol=1e-2)
