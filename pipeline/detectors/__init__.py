"""The six systems: after ``from pipeline.detectors import load``, ``load("ssd", "models")`` is one of them, trained."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.detectors.online.load import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import `load` when it is asked for: it needs all systems, and each system's stages import this package."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("pipeline.detectors.online.load").load
