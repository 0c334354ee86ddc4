"""Reading revisions of a real repository: what there is, what there is not, and what disturbs."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.compare.revisions import Revision, open_project
from pipeline.core.errors import InputError


def read(name: str) -> Revision:
    with open_project() as project:
        return project.read(name, ["rcnn", "ssd"])


def default_names() -> list[str]:
    with open_project() as project:
        return project.default_names()


def test_all_parts_of_a_revision_are_read(compared: Any) -> None:
    head = read("HEAD")
    assert (head.problem, head.commit) == ("", compared.git("rev-parse", "HEAD"))
    assert head.parameters["rcnn"] == {"svm": {"C": 0.001, "passes": 1}}
    assert head.metrics["rcnn"]["map_voc07"] == 0.9
    assert list(head.metrics) == ["rcnn"]
    assert head.timing["rcnn"]["total_median"] == 0.2
    assert head.costs == {"rcnn/svm": {"seconds": 5, "resumed": False}}
    assert head.curves == {"rcnn": {"one": [(0.5, 1.0), (0.9, 0.5)]}}
    assert list(head.stages) == ["evaluate@rcnn", "rcnn/svm", "rcnn/detect"]
    assert head.stages["rcnn/svm"].parameters == {"rcnn.svm.C": 0.001}
    assert list(head.stages["rcnn/svm"].outputs) == ["models/rcnn", "reports/stages/rcnn/svm"]


@pytest.mark.parametrize("name", ["HEAD", "main", "v1", "workspace"])
def test_branches_tags_commits_and_the_workspace_name_the_same(compared: Any, name: str) -> None:
    compared.git("tag", "v1")
    commit = compared.git("rev-parse", "HEAD")
    assert read(name).equals(read(commit[:9]))


def test_an_experiment_is_read_by_its_name_or_its_reference(compared: Any) -> None:
    base = compared.git("rev-parse", "HEAD")
    by_name = read("far")
    assert by_name.metrics["rcnn"]["map_voc07"] == 0.7
    assert by_name.equals(read(f"refs/exps/{base[:2]}/{base[2:]}/far"))
    assert by_name.label == f"far ({by_name.commit[:7]})"


def test_experiments_of_other_commits_are_not_listed(compared: Any) -> None:
    assert default_names() == ["HEAD", "workspace", "far", "close"]
    compared.commit("next")
    assert default_names() == ["HEAD", "workspace"]
    assert read("far").metrics["rcnn"]["map_voc07"] == 0.7


def test_without_a_commit_there_is_the_workspace_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    Repo.init(str(tmp_path)).close()
    monkeypatch.chdir(tmp_path)
    assert default_names() == ["workspace"]
    assert read("workspace").problem == ""
    assert read("HEAD").problem != ""


def test_a_project_without_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is in no Git repository"), open_project():
        pass


def test_a_commit_from_before_dvc_says_so(compared: Any) -> None:
    empty_tree = compared.git("hash-object", "-t", "tree", "-w", "/dev/null")
    compared.git("tag", "bare", compared.git("commit-tree", "-m", "no DVC yet", empty_tree))
    assert read("bare").problem == "At this commit there was no DVC project in this folder."


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("params.yaml", "a: [", "params.yaml"),
        ("dvc.yaml", "stages: 3", "dvc.yaml"),
        ("systems/rcnn/dvc.lock", "stages: {svm: {outs: 3}}", "systems/rcnn/dvc.lock: the stages do not look"),
        ("reports/metrics/rcnn.json", "<<<<<<< ours", "reports/metrics/rcnn.json: not readable as JSON"),
        ("reports/timing/rcnn.json", "[1]", "reports/timing/rcnn.json: found a list"),
        ("reports/precision_recall/ssd.csv", "class,recall\na,1\n", "ssd.csv: the columns"),
        (
            "reports/precision_recall/ssd.csv",
            "class,recall,precision\na,1,x\n",
            "ssd.csv: the columns",
        ),
    ],
)
def test_a_file_that_cannot_be_parsed_is_named_in_one_sentence(compared: Any, path: str, text: str, words: str) -> None:
    compared.write(path, text)
    commit = compared.commit("broken")
    revision = read(commit)
    assert words in revision.problem
    assert "\n" not in revision.problem
    assert (revision.commit, revision.metrics) == (commit, {})


def test_what_the_cache_has_lost_is_absent_and_no_fault(compared: Any) -> None:
    compared.cache({"seconds": 9, "resumed": False}).unlink()
    far = read("far")
    assert (far.problem, far.costs) == ("", {})
    assert far.metrics["rcnn"]["map_voc07"] == 0.7


def test_the_workspace_is_what_lies_there_and_the_cache_where_nothing_does(compared: Any) -> None:
    assert read("workspace").costs["rcnn/svm"]["seconds"] == 5
    compared.write("reports/stages/rcnn/svm/cost.json", {"seconds": 1234})
    assert read("workspace").costs["rcnn/svm"]["seconds"] == 1234
    assert read("HEAD").costs["rcnn/svm"]["seconds"] == 5


def test_a_revision_has_the_systems_that_its_parameters_list(compared: Any) -> None:
    # Metrics and a lock of an earlier run may still lie there.
    compared.write("params.yaml", "systems: [ssd, dpm]")
    compared.write("reports/metrics/ssd.json", {"map_voc07": 0.5})
    workspace = read("workspace")
    assert list(workspace.metrics) == ["ssd"]
    assert workspace.stages == {}


@pytest.mark.parametrize(
    ("matrix", "expanded"),
    [("{a: [x, y], b: '${k.b}'}", ["s@x-1", "s@y-2"]), ("{a: '${item}'}", ["s@x-1", "s@y-2", "s@z-1"])],
)
def test_a_matrix_stands_for_its_combinations(compared: Any, matrix: str, expanded: list[str]) -> None:
    compared.write("params.yaml", "k: {b: [1, 2]}")
    compared.write("dvc.yaml", f"stages: {{s: {{cmd: c, matrix: {matrix}}}}}")
    compared.write("dvc.lock", "stages: {s@x-1: {cmd: c}, s@y-2: {cmd: c}, s@z-1: {cmd: c}, sx: {cmd: c}}")
    assert [name for name in read("workspace").stages if "/" not in name] == expanded


def test_what_git_tracks_is_read_from_git_though_the_cache_may_hold_another_version(compared: Any) -> None:
    # DVC's run cache keeps outputs that are declared with cache: false as well.
    compared.cache(compared.root.joinpath("reports/metrics/rcnn.json").read_text())
    compared.write("reports/metrics/rcnn.json", {"map_voc07": 0.123})
    assert read("workspace").metrics["rcnn"]["map_voc07"] == 0.123
    assert read("HEAD").metrics["rcnn"]["map_voc07"] == 0.9
    assert read(compared.commit("by hand")).metrics["rcnn"]["map_voc07"] == 0.123


def test_a_pipeline_that_runs_meanwhile_does_not_disturb(compared: Any) -> None:
    from dvc.repo import Repo

    with Repo() as running, running.lock:
        assert default_names() == ["HEAD", "workspace", "far", "close"]
        assert read("far").problem == ""


def test_nothing_is_written(compared: Any) -> None:
    def files() -> dict[Path, int]:
        places = (p for p in compared.root.rglob("*") if p.is_file() and ".dvc/tmp" not in p.as_posix())
        return {place: place.stat().st_mtime_ns for place in places}

    before = files()
    for name in default_names():
        read(name)
    assert files() == before


def test_a_project_in_a_subfolder_of_the_repository_is_read(compared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    inner = compared.root / "inner"
    inner.mkdir()
    Repo.init(str(inner), subdir=True).close()
    compared.write("inner/params.yaml", "seed: 3")
    compared.commit("inner")
    (inner / "deep").mkdir()
    monkeypatch.chdir(inner / "deep")
    assert read("HEAD").parameters == {"seed": 3}
    assert read("HEAD~1").problem == "At this commit there was no DVC project in this folder."


@pytest.mark.slow
def test_an_experiment_that_dvc_ran(compared: Any) -> None:
    """DVC itself runs a stage twice; what it stores is read as this module expects it."""
    from dvc.repo import Repo

    compared.write("params.yaml", "rcnn: {svm: {C: 1}}")
    compared.write(
        "work.sh", "mkdir -p models reports/stages/rcnn/svm\ncp params.yaml models/rcnn\necho '{\"seconds\": 4}' > $1\n"
    )
    stage = """
stages:
  svm:
    wdir: ../..
    cmd: sh work.sh reports/stages/rcnn/svm/cost.json
    params: [rcnn.svm.C]
    outs: [models/rcnn, reports/stages/rcnn/svm]
"""
    compared.write("dvc.yaml", "stages: {}")
    compared.write("systems/rcnn/dvc.yaml", stage)
    compared.write(".gitignore", "/models\n/reports/stages\n")
    with Repo() as repo:
        repo.reproduce(all_pipelines=True)
        compared.commit("run")
        repo.experiments.run(name="two", params=["rcnn.svm.C=2"], all_pipelines=True)
    head, two = read("HEAD"), read("two")
    assert default_names() == ["HEAD", "workspace", "two"]
    assert (head.parameters["rcnn"]["svm"]["C"], two.parameters["rcnn"]["svm"]["C"]) == (1, 2)
    assert two.costs == {"rcnn/svm": {"seconds": 4}}
    assert two.stages["rcnn/svm"].parameters == {"rcnn.svm.C": 2}
    assert two.stages["rcnn/svm"].outputs["models/rcnn"] != head.stages["rcnn/svm"].outputs["models/rcnn"]
    assert two.outdated() == []


def test_a_cache_in_another_place_is_read(compared: Any, tmp_path: Path) -> None:
    (compared.root / ".dvc/cache").rename(tmp_path / "elsewhere")
    assert read("HEAD").costs == {}
    compared.write(".dvc/config", "[cache]\n    dir = ../../elsewhere\n")
    assert read("HEAD").costs["rcnn/svm"]["seconds"] == 5
