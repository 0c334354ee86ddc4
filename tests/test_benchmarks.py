"""The measurements start, and the two that documents are computed from count right; nothing here asserts a time."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cluster, gpu, relations, scaling
from benchmarks.gpu_parts import PARTS, Sizes, Work
from pipeline import presets
from pipeline.data.index import ImageRecord, Index
from pipeline.evaluation.detections import Detections
from pipeline.nets.precision import has_bf16
from pipeline.params import defaults, parse

FILES = sorted((Path(__file__).parent.parent / "benchmarks").glob("[a-z]*.py"))
SCRIPTS = [path.stem for path in FILES if "__main__" in path.read_text(encoding="utf-8")]
CPU = torch.device("cpu")


# In this process: each of its own would import torch once more.
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_explains_itself(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


# What the project needs, but the measured parts of it do not.
ABSENT = (
    "defusedxml", "dvc", "dvclive", "faster_coco_eval", "h5py", "jinja2", "joblib", "lightning_fabric", "matplotlib",
    "psutil", "ruamel", "safetensors", "scipy", "skimage", "sklearn", "threadpoolctl", "tqdm", "typer", "zarr",
)  # fmt: skip


@pytest.mark.slow
def test_gpu_measures_every_part_with_few_packages(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    out = tmp_path / "gpu.json"
    done = _run("benchmarks.gpu", ["--small", "--device", "cpu", "--out", str(out)], pytestconfig.rootpath, ABSENT)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(out.read_text(encoding="utf-8"))
    records = content["records"]
    assert len(records) >= len(PARTS)
    assert [record for record in records if "error" in record] == []
    without_arithmetic = [record["part"] for record in records if not record["flops"]]
    assert all(part.endswith("warping alone") for part in without_arithmetic)
    cached = "bf16" if has_bf16(torch.device("cpu")) else "fp32"
    for part, precision in ((record["part"], record["precision"]) for record in records if record["flops"]):
        if part.startswith(("R-CNN features", "SPP-net maps")):
            assert precision == cached, part
        elif not part.startswith(("R-CNN, small, at test", "SPP-net, small, at test")):
            assert precision == "fp32", part
    assert all(set(record["phases_ms"]) for record in records if "at test" in record["part"])
    assert done.stdout.count("\n| ") == len(records) + 1  # and the names of the columns


def test_gpu_says_what_is_missing(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    absent = ("torch", "pydantic", "cv2")
    done = _run("benchmarks.gpu", ["--out", str(tmp_path / "x")], pytestconfig.rootpath, absent)
    assert done.returncode == 1
    assert "pip install torch torchvision pydantic opencv-python-headless" in done.stderr  # torchvision needs torch


def test_a_part_that_fails_is_a_line_and_the_rest_goes_on() -> None:
    def part(sizes: Sizes) -> Iterator[Work]:
        yield Work("too large", lambda: torch.empty(1 << 62))
        yield Work("right", lambda: torch.ones(8, 8) @ torch.ones(8, 8))
        raise ValueError("no such layer")

    sizes = Sizes(parse(defaults(), "the defaults"), CPU)
    found = gpu.records("name", part, sizes, gpu.Measurer(CPU, side=16, seconds=0))
    assert [record["part"] for record in found] == ["too large", "right", "name"]
    assert ["error" in record for record in found] == [True, False, True]
    assert found[1]["flops"] == 2 * 8**3
    assert "no such layer" in found[2]["error"]


def test_arithmetic_is_that_of_torchs_counter_and_of_the_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 5))
    inputs = torch.randn(2, 3, 8, 8)
    by_hand = 2 * 2 * (8 * 8 * 8 * 3 * 9 + 8 * 64 * 5)
    with torch.inference_mode(), gpu.arithmetic(CPU) as counted:
        network(inputs)
    assert dict(counted.flops) == {"fp32": by_hand}

    with FlopCounterMode(display=False) as theirs:
        network(inputs).sum().backward()
    with gpu.arithmetic(CPU) as counted:
        network(inputs).sum().backward()
    assert sum(counted.flops.values()) == theirs.get_total_flops() > 2 * by_hand

    with torch.autocast("cpu", torch.bfloat16), gpu.arithmetic(CPU) as counted:
        network(inputs)
    assert dict(counted.flops) == {"bf16": by_hand}


def test_time_of_streams_side_by_side_counts_once() -> None:
    assert gpu.covered([(0, 4), (1, 2), (3, 6), (8, 9)]) == 7


def test_the_preset_is_read_as_yaml_is() -> None:
    text = gpu.PRESET.read_text(encoding="utf-8")
    assert gpu.read_preset(text) == YAML(typ="safe").load(text)


def test_scaling_finds_the_line_of_a_known_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scaling.line([1, 2, 4], [5.0, 7.0, 11.0]) == pytest.approx((2, 3, 1))
    slope, intercept, r2 = scaling.line([1, 2, 3, 4], [1.0, 3.0, 2.0, 4.0])  # by hand: 0.8 x + 0.5, residual 1.8 of 5
    assert (slope, intercept, r2) == pytest.approx((0.8, 0.5, 0.64))

    probe = scaling.Probe("held", "kilobyte", (100, 200, 400), lambda scale, size: lambda: bytearray(1000 * size))
    assert scaling.measure(probe, scaling.Scale()).bytes_each == pytest.approx(1000, rel=0.05)


@pytest.mark.slow
def test_scaling_replaces_what_stands_between_the_marks(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    page = tmp_path / "scaling.md"
    page.write_text(f"before\n{scaling.START}\nold\n{scaling.END}\nafter\n", encoding="utf-8")
    done = _run("benchmarks.scaling", ["--small", "--write", str(page)], pytestconfig.rootpath)
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert all(f"| {probe.title}, {probe.units} |" in text for probe in scaling.PROBES)
    # 9,963 images of 2,000 regions, each 9,216 and 4,096 values of two bytes
    assert "| R-CNN features, raw | 531 GB |" in text
    assert (tmp_path / "images" / "scaling.svg").read_text(encoding="utf-8").count("<svg") == 1


@pytest.mark.slow
def test_validate_is_measured_on_a_folder_that_it_accepts(pytestconfig: pytest.Config) -> None:
    done = _run("benchmarks.validate_large", ["--images", "50", "--objects", "3"], pytestconfig.rootpath)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("50 images, 150 objects\n")
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["headers", "validate"]
    assert "checking images: 100%" in done.stderr


@pytest.mark.slow
@pytest.mark.xdist_group("dask")
def test_a_cluster_is_measured_in_all_its_parts(pytestconfig: pytest.Config) -> None:
    done = _run("benchmarks.cluster", ["--small"], pytestconfig.rootpath)
    assert done.returncode == 0, done.stderr
    named = [re.match(r"([a-z]+): ([^,]+)", line).groups() for line in done.stdout.splitlines()]
    assert [part for part, _ in named] == [*2 * ["proposals"], "features", *2 * ["store"], *2 * ["simulation"]]
    assert [what for part, what in named if part == "store"] == ["a folder", "an S3 server"]
    assert done.stdout.count("256 rows, 2 MB, as") == 2


def test_the_simulation_is_compared_with_the_best_that_there_is() -> None:
    """By hand: 3, 1, 1 and 4 seconds on two workers; the last begins when the two short ones are done."""
    assert cluster.greedy_seconds([3, 1, 1, 4], workers=2) == 6
    tasks = cluster.durations(20_000, median=2.0)
    assert np.median(tasks) == pytest.approx(2, rel=0.02)
    assert np.mean(np.array(tasks) > 6) == pytest.approx(0.02, abs=0.003)  # the stragglers, nearly all


def test_the_page_has_the_marks(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert text.count(scaling.START) == text.count(scaling.END) == 1


def _run(
    module: str, arguments: list[str], root: Path, absent: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m module`` as if the packages ``absent`` were not installed."""
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        f"sys.argv = [{module!r}, *{arguments!r}]; sys.path.insert(0, '.')\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)


def test_relations_count_seeds_and_make_equal_runs_once(tmp_path: Path) -> None:
    made = []

    def run(system: str, changes: Mapping[str, str]) -> Path:
        made.append((system, dict(changes)))
        return tmp_path / changes["seed"] / changes.get("key", "default")

    def figure(folder: Path, system: str) -> float:
        return {"default": 0.9, "1": 0.5}[folder.name] + int(folder.parent.name) / 100

    pairs = [("a", {}, figure), ("a", {}, lambda folder, system: 0.0), ("a", {"key": "1"}, figure)]
    found = relations.measured(pairs, [1, 2], run)
    assert found == [pytest.approx([0.91, 0.92]), [0, 0], pytest.approx([0.51, 0.52])]
    assert made == [("a", {"seed": s} | k) for s in "12" for k in ({}, {"key": "1"})]


@pytest.mark.parametrize(
    ("better", "worse", "lower", "end"),
    [
        ([0.8], [0.7], False, "| 0.800 | 0.700 | +0.100 | yes |"),
        ([0.8], [0.7], True, "| 0.800 | 0.700 | +0.100 | no |"),
        ([0.8, 0.9, 1.0], [0.7, 0.7, 0.7], False, "| 0.900 | 0.700 | +0.200 ± 0.100 | yes |"),  # 0.2 above 0.115
        ([0.6, 0.9, 1.2], [0.7, 0.7, 0.7], False, "| 0.900 | 0.700 | +0.200 ± 0.300 | open |"),  # below 0.346
    ],
)
def test_a_relation_holds_where_the_difference_passes_twice_its_error(
    better: list[float], worse: list[float], lower: bool, end: str
) -> None:
    relation = relations.Relation("a", "claim", {}, lower=lower)
    assert relations.row(relation, better, worse) == f"| a | claim {end}"


def test_the_mean_box_is_one_of_shares_of_the_sides(tmp_path: Path) -> None:
    """Objects of train in the left half and in all of an image: the mean ends at three quarters of the width."""

    def image(number: int, sides: tuple[int, int], box: tuple[float, ...]) -> ImageRecord:
        one = np.zeros(1, np.bool_)
        return ImageRecord(number, f"{number}.png", *sides, "", np.array([box], np.float32), np.array([1]), one)

    train = Index(("a",), (image(1, (10, 20), (0, 0, 5, 20)), image(2, (20, 20), (0, 0, 20, 20))))
    test = Index(("a",), (image(3, (100, 50), (0, 0, 100, 50)), image(4, (40, 40), (20, 20, 40, 40))))
    for name, index in (("train", train), ("test", test)):
        index.save(tmp_path / f"data/index/{name}.json")
    assert relations.mean_box(tmp_path, "a", test).tolist() == [[0, 0, 75, 50], [0, 0, 30, 40]]
    assert relations.missed(relations.mean_box)(tmp_path, "a") == 0.5
    boxes = np.float32([[0, 0, 40, 50], [0, 0, 100, 50], [21, 20, 40, 40]])
    found = Detections(np.array([3, 3, 4]), np.ones(3, np.int64), boxes, np.float32([0.9, 0.2, 0.5]))
    found.save(tmp_path / "detections/a.json")
    assert relations.missed(relations.first_box)(tmp_path, "a") == 0.5


@pytest.mark.parametrize("relation", relations.RELATIONS, ids=lambda each: each.claim)
def test_a_relation_changes_parameters_of_its_system(relation: relations.Relation) -> None:
    default = presets.params_of({}, "the default")
    for changes in (relation.worse, relation.better):
        assert all(key.startswith(f"{relation.system}.") for key in changes)
        changed = presets.params_of(presets.assigned(f"{key}={value}" for key, value in changes.items()), "changes")
        assert (changed == default) is not bool(changes)
    presets.params_of(presets.assigned(f"{key}={value}" for key, value in relation.both.items()), "both sides")
    assert relation.worse or relation.better or relation.other_figure
