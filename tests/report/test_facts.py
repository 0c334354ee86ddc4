import platform

import numpy as np

from pipeline.report import facts


def test_sizes_are_summed_by_folder_and_entry():
    found = facts.folders({"models/b": 4, "features/rcnn/a": 1, "features/rcnn/b": 2, "features/sppnet": 8})
    assert {folder.name: (folder.sizes, folder.total) for folder in found} == {
        "features": ({"rcnn": 3, "sppnet": 8}, 11),
        "models": ({"b": 4}, 4),
    }


def test_sizes_in_print():
    shown = [facts.size(count) for count in (298, 999_400, 999_600, 57_300_000, 2_640_000_000)]
    assert shown == ["0.298 kB", "999 kB", "1 MB", "57.3 MB", "2.64 GB"]


def test_versions_are_those_of_the_packages(monkeypatch):
    monkeypatch.setattr(facts, "PACKAGES", ("numpy", "no-such-package"))
    assert facts.versions() == {"Python": platform.python_version(), "numpy": np.__version__}
