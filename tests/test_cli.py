"""The command as a person uses it: output, exit codes, files."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.registry import all_systems

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = (ROOT / "params.yaml").read_text(encoding="utf-8")

Boxline = Callable[..., Result]


@pytest.fixture
def boxline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boxline:
    (tmp_path / "params.yaml").write_text(COMMITTED)
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_preset_writes_and_prints_what_changed(boxline: Boxline) -> None:
    result = boxline("preset", "tiny", "--set", "seed=7", "--set", "rcnn.svm.C=0.01")
    assert result.exit_code == 0, result.output
    assert "seed: 1 -> 7\n" in result.stdout
    assert "data.digits.train: 160 -> 12\n" in result.stdout
    text = Path("params.yaml").read_text()
    assert "\nseed: 7\n" in text
    assert "    C: 0.01\n" in text
    assert [p.name for p in sorted(Path.cwd().iterdir())] == ["params.yaml", "presets"]


def test_the_default_preset_restores_the_committed_bytes(boxline: Boxline) -> None:
    boxline("preset", "voc2007")
    assert Path("params.yaml").read_bytes() != COMMITTED.encode()
    boxline("preset", "digits")
    assert Path("params.yaml").read_bytes() == COMMITTED.encode()
    again = boxline("preset", "digits")
    assert again.stdout == "params.yaml holds these values already.\n"


def test_values_can_be_set_without_a_preset(boxline: Boxline) -> None:
    assert boxline("preset", "--set", "data.root=somewhere").stdout == "data.root: data/fetched -> somewhere\n"


def test_a_network_that_no_listed_system_starts_from_is_named(boxline: Boxline) -> None:
    result = boxline("preset", "voc2007", "--set", "systems=[rcnn]")
    sentence = "no listed system starts from backbones.{}; dvc repro makes it all the same\n"
    assert result.stderr == sentence.format("vgg16") + sentence.format("extraction")
    assert boxline("preset", "digits").stderr == ""


def test_of_several_presets_the_later_ones_count(boxline: Boxline) -> None:
    Path("mine.yaml").write_text("ssd: {side: 256}\n")
    result = boxline("preset", "folder", "mine.yaml", "--set", "data.root=mine")
    assert result.exit_code == 0, result.output
    assert "ssd.side: 192 -> 256\n" in result.stdout
    assert "yolo.side: 192 -> 300\n" in result.stdout
    assert boxline("preset", "none.yaml").exit_code == 2


def test_a_dry_run_prints_the_changes_and_writes_nothing(boxline: Boxline) -> None:
    result = boxline("preset", "voc2007", "--dry-run")
    assert "rcnn.backbone: small -> alexnet\n" in result.stdout
    assert result.stdout.endswith("Nothing was written.\n")
    assert Path("params.yaml").read_text() == COMMITTED


def test_without_a_name_the_presets_are_listed(boxline: Boxline) -> None:
    lines = boxline("preset").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["digits", "folder", "tiny", "voc2007"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["preset", "digit"], 2, "digits"),
        (["preset", "digits", "--set", "svm.C=1"], 2, "rcnn.svm.C"),
        (["preset", "digits", "--set", "seed"], 2, "KEY=VALUE"),
        (["preset", "--unknown"], 2, "--unknown"),
        (["validate"], 2, "FOLDER"),
        (["nonsense"], 2, "nonsense"),
        (["preset", "digits", "--set", "rcnn.svm.C=-1"], 1, "rcnn.svm.C"),
        (["validate", "absent"], 2, "absent"),
        (["validate", "presets"], 1, "presets"),
        (["validate", "presets", "--source", "pascal"], 2, "'pascal' is none of auto, voc, coco, yolo"),
        (["export", "rcnn"], 2, "rcnn"),
        (["export", "ssd"], 1, "systems/ssd/dvc.yaml:detect"),
        (["predict"], 2, "IMAGE|FOLDER|GLOB"),
        (["predict", "absent.jpg", "--system", "ssd"], 2, "absent.jpg"),
        (["predict", "params.yaml", "--system", "ssd"], 1, "systems/ssd/dvc.yaml:detect"),
    ],
)
def test_wrong_use_exits_with_2_and_failed_work_with_1(
    boxline: Boxline, arguments: list[str], code: int, words: str
) -> None:
    result = boxline(*arguments)
    assert result.exit_code == code
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert words in result.stderr
    assert Path("params.yaml").read_text() == COMMITTED


def test_outside_a_project_the_sentence_says_so(boxline: Boxline) -> None:
    Path("params.yaml").unlink()
    result = boxline("preset", "--set", "seed=2")
    assert result.exit_code == 1
    expected = "error: params.yaml: the file does not exist; run this in the project's folder.\n"
    assert result.stderr == expected


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("data", "the folder holds or is in data/index, which the run writes; data/mine would be right"),
        (".", "the folder holds or is in data/index, which the run writes; data/mine would be right"),
        ("data/index/mine", "the folder holds or is in data/index, which the run writes; data/mine would be right"),
        ("~no_one/pictures", "there is no such home folder; the whole path would be right"),
    ],
)
def test_a_root_that_dvc_cannot_take_is_refused(boxline: Boxline, root: str, reason: str) -> None:
    result = boxline("preset", "--set", f"data.root={root}")
    assert result.exit_code == 1
    assert result.stderr == f"error: params.yaml: data.root is {root!r}: {reason}\n"
    assert Path("params.yaml").read_text() == COMMITTED


def test_the_home_folder_is_written_out_as_dvc_does_not_know_it(
    boxline: Boxline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert boxline("preset", "--set", "data.root=~/pictures").exit_code == 0
    assert YAML(typ="safe").load(Path("params.yaml").read_text())["data"]["root"] == f"{tmp_path}/pictures"


@pytest.mark.parametrize("arguments", [["preset"], ["preset", "tiny"]])
def test_without_a_folder_of_presets_the_sentence_says_where_to_run(boxline: Boxline, arguments: list[str]) -> None:
    Path("presets").unlink()
    result = boxline(*arguments)
    assert result.exit_code == 1
    assert result.stderr == "error: presets: there is no such folder; run this in the project's folder.\n"


def test_a_table_is_printed_in_an_encoding_without_its_letters(tmp_path: Path) -> None:
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    for number in range(3):
        Image.new("RGB", (20 + number, 20)).save(tmp_path / f"JPEGImages/{number}.png")
        text = f"<annotation><object><name>\u732b</name>{box}</object></annotation>"
        (tmp_path / f"Annotations/{number}.xml").write_text(text, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "validate", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "\\u732b" in run.stdout


def test_validate_prints_the_numbers_of_a_real_dataset(boxline: Boxline, shared: Path) -> None:
    result = boxline("validate", str(shared / "data/voc100"))
    assert result.exit_code == 0, result.output
    assert "problems: 0" in result.stdout
    people = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["person"])
    assert sum(map(int, people.split()[1:])) == 91


def test_version_is_that_of_the_project(boxline: Boxline) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert boxline("--version").stdout == f"{project['version']}\n"


def test_help_loads_no_heavy_package_and_no_room_of_the_pipeline() -> None:
    code = "import sys\nfrom pipeline.cli import app\napp(['--help'], standalone_mode=False)\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.splitlines()[-1].split())
    assert "preset" in run.stdout
    assert not loaded & {"torch", "torchvision", "numpy", "pydantic", "dvc", "ruamel", "ruamel.yaml", "PIL"}
    rooms = {name.split(".")[1] for name in loaded if name.startswith("pipeline.")}
    assert rooms <= {"cli", "options"}


def test_the_help_of_predict_names_the_systems_with_their_thresholds(boxline: Boxline) -> None:
    text = " ".join(boxline("predict", "--help").stdout.split())
    for name, system in all_systems().items():
        assert f"{name} {system.shown_from:g}" in text
    assert ", ".join(all_systems()) + " or all" in text


def test_help_names_each_command_in_one_whole_line(boxline: Boxline) -> None:
    lines = boxline("--help").stdout.partition("Commands:\n")[2].splitlines()
    names = [line.split()[0] for line in lines]
    own = ["preset", "validate", "fit", "predict", "compare", "export"]  # in the order in which a newcomer needs them
    assert [name for name in names if name in own] == own
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("boxline p", {"preset", "predict"}),
        ("boxline preset vo", {"voc2007"}),
        ("boxline predict x.png --system s", {"sppnet", "ssd"}),
        ("boxline predict x.png --system a", {"all"}),
        ("boxline export y", {"yolo"}),
        ("boxline inspect u", {"units"}),
    ],
)
def test_a_shell_completes_commands_presets_and_systems(boxline: Boxline, words: str, offered: set[str]) -> None:
    asked = {
        "_BOXLINE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    result = CliRunner().invoke(app, [], prog_name="boxline", env=asked)
    assert set(result.stdout.split()) == offered
