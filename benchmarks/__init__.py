"""Measurements, run as ``python -m benchmarks.NAME --help``; tests never assert a time."""

import pipeline  # noqa: F401  (sets up the process before torch is imported)
