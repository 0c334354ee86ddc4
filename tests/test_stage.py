"""The frame of a stage: what dvc.yaml says is all that a script can read and write."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline import params, presets
from pipeline.core.errors import InputError
from pipeline.stage import Stage, declarations
from pipeline.systems.rcnn.params import Rcnn

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the graph, the parameters and the code that is said to run, and change to it."""
    for part in ("systems", "pipeline", "stages"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
    for part in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / part, tmp_path / part)
    monkeypatch.setattr("pipeline.stage.ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def set_parameters(*assignments: str) -> None:
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(presets.lay_over(text, presets.assigned(assignments), "params.yaml")[0])


def inputs(stage: Stage, text: str = "x") -> None:
    for path in stage.declaration.deps:
        write(path, text)


def test_the_stage_is_the_one_whose_command_runs(project: Path) -> None:
    assert Stage.of("stages.rcnn.svm", []).declaration.address == "systems/rcnn/dvc.yaml:svm"
    assert Stage.of("stages.proposals", ["val"]).declaration.address == "proposals@val"
    assert Stage.of("stages.faster_rcnn.rpn", ["2"]).declaration.address == "systems/faster_rcnn/dvc.yaml:rpn@2"
    assert Stage.of("stages.evaluate", ["ssd"]).args == ("ssd",)


def test_another_command_is_refused_with_those_that_exist(project: Path) -> None:
    with pytest.raises(InputError, match=r"no stage runs `python -m stages.proposals dev`; there are .* val"):
        Stage.of("stages.proposals", ["dev"])
    for arguments in ([], ["3"], ["1", "2"]):
        with pytest.raises(InputError, match=r"there are .*faster_rcnn.rpn 1, .*faster_rcnn.rpn 2"):
            Stage.of("stages.faster_rcnn.rpn", arguments)
    with pytest.raises(InputError, match=r"stages.other stands in no dvc.yaml"):
        Stage.of("stages.other", [])


def test_only_listed_systems_have_an_evaluation(project: Path) -> None:
    set_parameters("systems=[ssd]")
    addresses = {each.address for each in declarations(params.load())}
    assert {"evaluate@ssd", "systems/rcnn/dvc.yaml:svm"} <= addresses
    assert "evaluate@rcnn" not in addresses


def test_loops_and_variables_are_written_out(project: Path) -> None:
    second = Stage.of("stages.faster_rcnn.detector", ["2"]).declaration
    assert "proposals/faster_rcnn2" in second.deps
    assert "models/faster_rcnn/detector1.safetensors" in second.deps
    assert not any("$" in text for each in declarations(params.load()) for text in (*each.deps, *each.outs))


def test_a_systems_backbone_is_read_by_that_system_alone(project: Path) -> None:
    def read() -> dict[str, tuple]:
        p = params.load()
        stages = {each.address: each for each in declarations(p)}
        return {
            address: (each.deps, each.outs, Stage(each, (), p).plain(each.params)) for address, each in stages.items()
        }

    before = read()
    set_parameters("ssd.backbone=vgg16", "backbones.vgg16={init: published, weights: vgg.safetensors}")
    after = read()
    changed = {address for address, parts in after.items() if before.get(address) != parts}
    assert changed == {"fetch_weights@vgg16", "pretrain@vgg16", "systems/ssd/dvc.yaml:train", "report"}
    assert "models/backbones/vgg16.safetensors" in after["systems/ssd/dvc.yaml:train"][0]
    assert "vgg.safetensors" in after["pretrain@vgg16"][0]


def test_the_number_of_proposals_at_test_trains_nothing(project: Path) -> None:
    """Round 2 proposes again, to measure the recall with that number; the training splits' proposals stay the same."""

    def read() -> dict[str, dict]:
        p = params.load()
        return {each.address: Stage(each, (), p).plain(each.params) for each in declarations(p)}

    before = read()
    set_parameters("faster_rcnn.detect.proposals.post_nms_top_n=100")
    changed = {address for address, values in read().items() if before[address] != values}
    assert {address.rpartition(":")[2] for address in changed if "faster_rcnn" in address} == {"proposals@2", "detect"}


def test_an_entry_of_a_mapping_is_a_parameter_of_its_own(project: Path) -> None:
    set_parameters("ssd.backbone=vgg16", "backbones.vgg16={init: published, weights: vgg.safetensors}")
    stage = Stage.of("stages.pretrain", ["vgg16"])
    assert stage.params.backbones["vgg16"].weights == "vgg.safetensors"
    with pytest.raises(LookupError, match=r"backbones.small is not among the params of pretrain@vgg16"):
        _ = stage.params.backbones["small"]


def test_a_stage_reads_the_parameters_that_the_graph_lists(project: Path) -> None:
    stage = Stage.of("stages.rcnn.svm", [])
    assert stage.section(Rcnn).svm.C == 0.001
    assert stage.params.data.fit_splits == ("train", "val")
    assert stage.params.runtime.workers == 0
    with pytest.raises(LookupError, match=r"rcnn.finetune is not among the params of systems/rcnn/dvc.yaml:svm"):
        _ = stage.section(Rcnn).finetune
    with pytest.raises(LookupError, match=r"data.source is not among"):
        _ = stage.params.data.source


def test_a_stage_reads_and_writes_the_paths_that_the_graph_lists(project: Path) -> None:
    stage = Stage.of("stages.rcnn.svm", [])
    assert stage.dep("data/index/val.json") == Path("data/index/val.json")
    assert stage.dep("features/rcnn/train.zarr/zarr.json").name == "zarr.json"
    with pytest.raises(LookupError, match=r"data/index/test.json is not among the deps"):
        stage.dep("data/index/test.json")
    with pytest.raises(LookupError, match=r"models/ssd is not among the outs"):
        stage.out("models/ssd")
    assert stage.report == Path("reports/stages/rcnn/svm")


def test_the_scratch_folder_follows_parameters_inputs_and_code_of_the_stage_alone(project: Path) -> None:
    def mark() -> str:
        return Stage.of("stages.rcnn.svm", []).fingerprint

    inputs(Stage.of("stages.rcnn.svm", []))
    marks = [mark()]
    set_parameters("rcnn.finetune.flip=true", "runtime.workers=3", "data.root=elsewhere")
    write("proposals/test.h5", "another stage's")
    write("pipeline/linear/ridge.py", "x = 1")
    assert mark() == marks[0]
    set_parameters("rcnn.svm.C=0.01")
    marks.append(mark())
    write("data/index/train.json", "changed")
    marks.append(mark())
    write("pipeline/linear/model.py", "x = 1")
    marks.append(mark())
    assert len(set(marks)) == 4


def test_a_finished_stage_leaves_its_cost_and_figures_and_no_scratch(project: Path) -> None:
    stage = Stage.of("stages.rcnn.svm", [])
    inputs(stage)
    (stage.scratch.folder / "part").write_text("half")
    resumed = Stage.of("stages.rcnn.svm", [])
    assert resumed.scratch.resumed
    resumed.finish(7, "image", positives=3)
    assert not resumed.scratch.folder.exists()
    cost = presets._parse((resumed.report / "cost.json").read_text(), "cost")
    assert (cost["seen"], cost["unit"], cost["resumed"]) == (7, "image", True)
    assert cost["memory_mb"] > 10
    assert "positives" in (resumed.report / "metrics.json").read_text()


def test_a_stage_that_computed_on_a_device_names_the_machine(project: Path) -> None:
    stage = Stage.of("stages.rcnn.svm", [])
    assert stage.device.type in {"cpu", "cuda"}
    stage.finish(1, "image")
    recorded = json.loads((stage.report / "cost.json").read_text())["machine"]
    assert f"({stage.device.type})" in recorded
    assert f"torch {version('torch')}" in recorded


def test_a_stage_without_a_network_does_not_load_torch() -> None:
    scripts = ("evaluate", "index", "proposals", "rcnn.bbox", "rcnn.svm", "report")
    code = f"import importlib, sys\nfor name in {scripts}:\n    importlib.import_module(f'stages.{{name}}')\n"
    code += "    assert 'torch' not in sys.modules, name"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
