import multiprocessing
import subprocess
import sys

import pytest

from pipeline.core.errors import InputError
from pipeline.data.index import Index
from pipeline.proposals import extract as module
from pipeline.proposals.engines import propose
from pipeline.proposals.extract import extract


def test_one_and_two_workers_write_the_same_bytes_and_leave_no_process(tmp_path, split, settings):
    before = set(multiprocessing.active_children())
    for workers in (1, 2):
        extract(split, tmp_path, settings(min_side=5), workers, tmp_path / f"parts{workers}").save(
            tmp_path / f"{workers}.h5"
        )
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    assert set(multiprocessing.active_children()) == before


def test_order_and_settings_are_kept(tmp_path, split, settings):
    backwards = Index(split.classes, split.images[::-1])
    found = extract(backwards, tmp_path, settings("selectivesearch", max_per_image=7), 1, tmp_path / "parts")
    assert found.image_ids.tolist() == [6, 5, 4, 3, 2, 1]
    assert found.boxes_of(6).tolist() == [[0, 0, 30, 20]]
    assert max(len(boxes) for boxes in found) <= 7
    assert found.engine == "selectivesearch"
    assert found.settings == {
        "max_per_image": 7,
        "max_width": None,
        "min_side": 1,
        "scales": [50, 100, 150, 300],
        "sigma": 0.8,
    }


def test_no_image(tmp_path, split, settings):
    assert len(extract(Index(split.classes, ()), tmp_path, settings(), 2, tmp_path / "parts")) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_image_is_named(tmp_path, split, settings, workers):
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"3\.png: the file is no image"):
        extract(split, tmp_path, settings(), workers, tmp_path / "parts")


def test_a_failing_engine_names_the_image(tmp_path, split, settings, monkeypatch):
    def fail(*_):
        raise ValueError("out of ideas")

    monkeypatch.setattr(module, "propose", fail)
    with pytest.raises(RuntimeError, match=r"1\.png: .*engine opencv failed: ValueError\('out of ideas'\)"):
        extract(split, tmp_path, settings(), 1, tmp_path / "parts")


def test_a_second_call_makes_only_what_is_missing(tmp_path, split, settings, monkeypatch):
    monkeypatch.setattr(module, "PART", 2)
    whole = extract(split, tmp_path, settings(), 1, tmp_path / "whole")
    asked = []

    def stop_at_the_fourth(image, how):
        asked.append(image)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return propose(image, how)

    monkeypatch.setattr(module, "propose", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        extract(split, tmp_path, settings(), 1, tmp_path / "parts")
    again = extract(split, tmp_path, settings(), 1, tmp_path / "parts")
    assert len(asked) == 4 + 4  # two of six images were finished
    for name in ("boxes", "offsets", "image_ids"):
        assert getattr(again, name).tolist() == getattr(whole, name).tolist()


def test_workers_need_no_torch():
    code = (
        "import sys, pipeline.proposals.extract, pipeline.proposals.engines, pipeline.proposals.engines;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
