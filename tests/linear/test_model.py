"""Linear models: the formula, and the way to disk and back."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.linear.model import LinearModel


def model() -> LinearModel:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 5)).astype(np.float32)
    return LinearModel(weights, np.array([1, -2, -np.inf], np.float32), 0.1 + 0.2, "fc7")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_outputs_by_hand(dtype: type) -> None:
    found = LinearModel(np.array([[1, 2], [0, -1]], np.float32), np.array([0.5, 0], np.float32), 10, "fc7")(
        np.array([[0.25, 0.5]], dtype)
    )
    np.testing.assert_allclose(found, [[2.5 + 10 + 0.5, -5]])
    assert found.dtype == np.float32


def test_an_output_that_was_not_learned_is_minus_infinity() -> None:
    outputs = model()(np.ones((4, 5), np.float16))
    assert outputs.shape == (4, 3)
    assert np.isneginf(outputs[:, 2]).all()
    assert np.isfinite(outputs[:, :2]).all()


def test_there_and_back_bit_by_bit(tmp_path: Path) -> None:
    model().save(tmp_path / "a")
    loaded = LinearModel.load(tmp_path / "a", "rcnn_svm")
    np.testing.assert_array_equal(loaded.weights, model().weights)
    np.testing.assert_array_equal(loaded.bias, model().bias)
    assert (loaded.scale, loaded.layer) == (0.1 + 0.2, "fc7")
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_something_else_names_the_stage_that_writes_the_right_file(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    (tmp_path / "text").write_text("no model")
    save_file({"weights": np.ones((1, 1), np.float32)}, tmp_path / "half")
    save_file({name: np.ones(1, np.float32) for name in ("weights", "bias", "scale")}, tmp_path / "bare")
    for name in ("missing", "text", "half", "bare"):
        with pytest.raises(InputError, match=f"^{tmp_path / name}: .*; the stage rcnn_svm writes it"):
            LinearModel.load(tmp_path / name, "rcnn_svm")
