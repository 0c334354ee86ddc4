"""Fixtures that every room uses."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with real data and weights; skip the test where it is absent."""
    folder = (ROOT / os.environ.get("BOXLINE_SHARED", "../shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no folder with real data at {folder}; set BOXLINE_SHARED")
    return folder
