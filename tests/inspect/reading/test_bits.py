"""Bits against NumPy's own conversions, on every float16 that there is."""

import numpy as np
import pytest
from pipeline.inspect.reading.bits import as_float32, first_not_finite, from_magnitudes, magnitudes, widened

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
SINGLE = np.array([0, -0.0, 1.5, -3, 1e-40, 3e38, np.inf, -np.inf, np.nan], np.float32)


def test_every_float16_widens_as_numpy_widens_it():
    assert np.array_equal(as_float32(EVERY), EVERY.astype(np.float32), equal_nan=True)
    finite = EVERY[np.isfinite(EVERY)]
    assert np.array_equal(widened(magnitudes(finite)), np.abs(finite).astype(np.float32))
    assert np.array_equal(np.signbit(as_float32(finite)), np.signbit(finite))


@pytest.mark.parametrize("values", [EVERY, SINGLE])
def test_magnitudes_are_ordered_as_the_values_and_come_back(values):
    whole = magnitudes(values)
    assert np.array_equal(whole >= first_not_finite(values.dtype), ~np.isfinite(values))
    finite = values[np.isfinite(values)]
    size = magnitudes(finite)
    assert np.array_equal(np.abs(finite)[np.argsort(size, kind="stable")], np.sort(np.abs(finite)))
    assert np.array_equal(from_magnitudes(size), np.abs(finite))
    assert np.array_equal(size == 0, finite == 0)


def test_float32_stays_as_it_is():
    assert as_float32(SINGLE) is SINGLE
    assert np.array_equal(widened(magnitudes(SINGLE[:6])), np.abs(SINGLE[:6]))
