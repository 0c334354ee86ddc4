"""The check of dvc.yaml against the code, on small made-up projects that DVC itself reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.tools import dvc_deps

ROOT = Path(__file__).resolve().parent.parent.parent

CODE = {
    "pipeline/params/__init__.py": "",
    "pipeline/core/boxes.py": "",
    "pipeline/core/runtime.py": "",
    "pipeline/data/index.py": "from pipeline import boxes",
    "pipeline/data/voc.py": "",
    "pipeline/nets/small.py": "",
    "pipeline/detectors/one.py": "from pipeline.nets import small",
    "pipeline/detectors/two.py": "",
    "pipeline/detectors/three/net.py": "",
    "stages/index.py": (
        "from pipeline import params, runtime\nfrom pipeline.data import index\n"
        "p = params.load()\nprint(p.seed, p.data.classes)"
    ),
    "stages/one_train.py": "from pipeline import params\nfrom pipeline.detectors import one\nprint(params.load().seed)",
    "stages/two_train.py": "from pipeline import params\nfrom pipeline.detectors import two\nprint(params.load().seed)",
    "stages/three_train.py": "import pipeline.detectors.three.net",
}

GOOD = """\
# The graph.
stages:
  index:
    cmd: python -m stages.index
    deps:
      # the code
      - pipeline/core/boxes.py
      - pipeline/data  # the room
      - pipeline/core/runtime.py
      - stages/index.py
      - ${data.root}
    params:
      - data.classes
      - seed
    outs:
      - data/index
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in CODE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def check(project: Path, text: str) -> list[str]:
    (project / "dvc.yaml").write_text(text)
    return dvc_deps.check(project / "dvc.yaml")


def mend(project: Path, text: str) -> str:
    """Mend, and expect that the result stands the check and does not change again."""
    file = project / "dvc.yaml"
    file.write_text(text)
    dvc_deps.write(file)
    mended = file.read_text()
    assert dvc_deps.check(file) == []
    dvc_deps.write(file)
    assert file.read_text() == mended
    return mended


def test_a_right_file_has_no_fault_and_is_left_alone(project: Path) -> None:
    assert check(project, GOOD) == []
    assert mend(project, GOOD) == GOOD


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("      - pipeline/core/runtime.py\n", "index: deps lack pipeline/core/runtime.py."),
        ("      - stages/index.py\n", "index: deps lack stages/index.py."),
        ("      - pipeline/data  # the room\n", "index: deps lack pipeline/data."),
        ("      - seed\n", "index: params lack seed."),
    ],
)
def test_a_missing_entry_is_named(project: Path, line: str, sentence: str) -> None:
    assert check(project, GOOD.replace(line, "")) == [sentence]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("pipeline/nets", "index: deps list pipeline/nets, which its script does not use."),
        ("pipeline/params", "index: deps list pipeline/params, which its script does not use."),
        ("pipeline/data/voc.py", "index: deps list pipeline/data/voc.py, which its script does not use."),
        ("pipeline", "index: deps list pipeline, which its script does not use."),
    ],
)
def test_an_unused_entry_is_named_and_removed(project: Path, entry: str, sentence: str) -> None:
    wrong = GOOD.replace("      - stages/index.py\n", f"      - stages/index.py\n      - {entry}\n")
    assert check(project, wrong) == [sentence]
    assert mend(project, wrong) == GOOD


def test_unused_parameters_are_named_and_removed(project: Path) -> None:
    wrong = GOOD.replace("      - seed\n", "      - data.classes.more\n      - rcnn.svm\n      - seed\n")
    assert check(project, wrong) == [
        "index: params list data.classes.more, which its script does not use.",
        "index: params list rcnn.svm, which its script does not use.",
    ]
    assert mend(project, wrong) == GOOD


def test_order_counts_and_entries_carry_their_comments(project: Path) -> None:
    wrong = GOOD.replace("      - ${data.root}\n", "").replace(
        "      # the code\n", "      # the images\n      - ${data.root}\n      # the code\n"
    )
    assert check(project, wrong) == ["index: deps stand out of order; code first, sorted, each once."]
    assert mend(project, wrong) == GOOD.replace("      - ${data.root}\n", "      # the images\n      - ${data.root}\n")
    doubled = GOOD.replace("      - seed\n", "      - seed\n      - seed\n")
    assert check(project, doubled) == ["index: params stand out of order; code first, sorted, each once."]
    assert mend(project, doubled) == GOOD


def test_lists_that_do_not_exist_are_put_in(project: Path) -> None:
    bare = "stages:\n  index:\n    cmd: >-\n      python -m\n      stages.index\n    # what it makes\n    outs: [x]\n"
    mended = mend(project, bare)
    assert mended == (
        "stages:\n  index:\n    cmd: >-\n      python -m\n      stages.index\n"
        "    deps:\n      - pipeline/core/boxes.py\n      - pipeline/data\n      - pipeline/core/runtime.py\n"
        "      - stages/index.py\n    params:\n      - data.classes\n      - seed\n"
        "    # what it makes\n    outs: [x]\n"
    )


def test_lists_on_one_line_and_lists_without_use_are_replaced(project: Path) -> None:
    text = (
        "stages:\n  t:\n    cmd: python -m stages.three_train\n"
        "    deps: [data/a, pipeline/nets]\n    params: [seed]\n    outs: [x]"
    )
    assert mend(project, text) == (
        "stages:\n  t:\n    cmd: python -m stages.three_train\n    deps:\n      - pipeline/detectors/three\n"
        "      - stages/three_train.py\n      - data/a\n    outs: [x]\n"
    )


def test_keys_of_other_parameter_files_are_left_alone(project: Path) -> None:
    text = GOOD.replace("      - seed\n", "      - seed\n      - other.yaml: [a, b]\n")
    assert check(project, text) == []
    assert mend(project, text.replace("      - seed\n", "")) == text


LOOPS = {
    "matrix": "  train:\n    matrix:\n      system: [one, two]\n    cmd: python -m stages.${item.system}_train\n",
    "foreach over keys": (
        "  train:\n    foreach: {one: {side: 3}, two: {side: 4}}\n    do:\n      cmd: python -m stages.${key}_train\n"
    ),
    "foreach over values": "  train:\n    foreach: [one, two]\n    do:\n      cmd: python -m stages.${item}_train\n",
    "foreach over mappings": (
        "  train:\n    foreach: [{name: one}, {name: two}]\n    do:\n      cmd: python -m stages.${item.name}_train\n"
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_what_differs_from_turn_to_turn_follows_the_loop(project: Path, loop: str) -> None:
    (project / "pipeline/detectors/one.py").write_text("")
    mended = mend(project, "stages:\n" + LOOPS[loop])
    variable = next(v for v in ("${item.system}", "${key}", "${item.name}", "${item}") if v in LOOPS[loop])
    entries = [line.strip() for line in mended.splitlines()][-5:]
    assert entries == [
        "deps:",
        f"- pipeline/detectors/{variable}.py",
        f"- stages/{variable}_train.py",
        "params:",
        "- seed",
    ]


def test_a_detector_s_file_must_fit_every_turn(project: Path) -> None:
    (project / "pipeline/detectors/other.py").write_text("")
    (project / "stages/one_train.py").write_text("from pipeline.detectors import one, other")
    text = (
        "stages:\n"
        + LOOPS["matrix"]
        + "    deps:\n      - pipeline/detectors/one.py\n      - stages/${item.system}_train.py\n"
    )
    assert check(project, text) == [
        "train: params lack seed.",
        "train: deps lack pipeline/detectors/other.py.",
        "train: deps lack pipeline/detectors/two.py.",
        "train: deps lack pipeline/nets.",
        "train: deps list pipeline/detectors/one.py, which its script does not use.",
    ]
    with pytest.raises(InputError, match=r"stage train: (params|deps): needs .* in one turn"):
        dvc_deps.write(project / "dvc.yaml")


def test_shared_code_of_one_turn_is_listed_for_all(project: Path) -> None:
    mended = mend(project, "stages:\n" + LOOPS["matrix"])
    assert "- pipeline/nets\n" in mended  # only the first of the two imports it
    assert check(project, mended.replace("      - pipeline/nets\n", "")) == ["train: deps lack pipeline/nets."]
    assert (
        check(project, mended.replace("pipeline/nets\n", "pipeline/nets\n      - pipeline/data\n"))
        == [
            "train: deps list pipeline/data, which its script does not use.",
            "train: deps stand out of order; code first, sorted, each once.",
        ][:1]
    )


def test_a_loop_over_splits_runs_one_script(project: Path) -> None:
    text = GOOD.replace(
        "    cmd: python -m stages.index",
        "    matrix:\n      split: [train, val]\n    cmd: python -m stages.index ${item.split}",
    )
    text = text.replace("data/index\n", "data/${item.split}\n")
    assert check(project, text) == []


def test_several_commands_need_what_each_needs(project: Path) -> None:
    text = (
        "stages:\n  both:\n    cmd:\n      - python -m stages.two_train\n      - python3 -m stages.three_train --fast\n"
    )
    assert "deps:\n      - pipeline/detectors/three\n      - pipeline/detectors/two.py\n" in mend(project, text)


def test_a_stage_without_a_script_is_a_fault(project: Path) -> None:
    text = "stages:\n  copy:\n    cmd: cp a b\n"
    assert check(project, text) == ["copy: its cmd runs no script; `python -m stages.NAME` is expected."]
    dvc_deps.write(project / "dvc.yaml")
    assert (project / "dvc.yaml").read_text() == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stages:\n  a:\n    cmd: python -m stages.absent\n", r"stage a: its script .*absent\.py does not exist"),
        ("stages:\n  a:\n    deps: [b]\n", "stage a: has no cmd"),
        ("stages:\n  a: text\n", "stage a: has no cmd"),
        ("vars: []\n", "has no stages"),
        ("stages: [", "not readable as YAML"),
        (
            "stages:\n  a:\n    foreach: ${systems}\n    do:\n      cmd: python -m stages.index\n",
            "write its values out",
        ),
        ("stages:\n  a:\n    matrix: {s: '${x}'}\n    cmd: python -m stages.index\n", "write its values out"),
    ],
)
def test_what_cannot_be_read_is_named(project: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check(project, text)


def test_dvc_reads_the_mended_file_the_same_way(project: Path) -> None:
    from dvc.repo import Repo

    (project / "params.yaml").write_text("seed: 1\ndata: {classes: [a], root: data}\n")
    two = GOOD + LOOPS["matrix"].replace("  train:", "  # below\n  train:").replace("[one, two]", "[two]")
    mend(project, two)
    repo = Repo.init(str(project), no_scm=True)
    try:
        deps = {stage.name: {dep.def_path for dep in stage.deps} for stage in repo.index.stages}
    finally:
        repo.close()
    assert deps["train@two"] == {"pipeline/detectors/two.py", "stages/two_train.py", "params.yaml"}
    assert deps["index"] >= {"pipeline/core/boxes.py", "pipeline/data", "stages/index.py", "data"}


def test_the_command_checks_and_mends(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    file = project / "dvc.yaml"
    file.write_text(GOOD.replace("      - seed\n", ""))
    monkeypatch.setattr(sys, "argv", ["dvc_deps", "--check"])
    with pytest.raises(InputError, match=r"dvc_deps --write` mends it\.\n  index: params lack seed\."):
        dvc_deps.main()
    monkeypatch.setattr(sys, "argv", ["dvc_deps", "--write"])
    dvc_deps.main()
    assert file.read_text() == GOOD
    file.unlink()
    with pytest.raises(InputError, match=r"dvc\.yaml: the file does not exist"):
        dvc_deps.main()
    monkeypatch.setattr(sys, "argv", ["dvc_deps"])
    with pytest.raises(SystemExit, match="2"):
        dvc_deps.main()
    assert "--check" in capsys.readouterr().err


def test_the_command_fails_with_exit_code_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.tools.dvc_deps", "--check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "error: dvc.yaml: the file does not exist; run this in the project's folder.\n"


def test_the_project_s_own_graph_is_right() -> None:
    assert dvc_deps.check(ROOT / "dvc.yaml") == []
