"""Reading revisions of a real repository: what there is, what there is not, and what disturbs."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.compare.project import default_names, read_revisions
from pipeline.compare.revision import Layout, Revision

LAYOUT = Layout(
    params="params.yaml",
    pipeline="dvc.yaml",
    lock="dvc.lock",
    metrics="reports/metrics/{}.json",
    timing="reports/timing/{}.json",
    curves="reports/plots/{}_pr.csv",
    costs="reports/costs",
    detections="detections/{}.json",
    test_images="data/index/test.json",
    resampling={},
    groups={"models": "models"},
    without_effect=frozenset({"runtime"}),
)


def read(name: str) -> Revision:
    (revision,) = read_revisions([name], LAYOUT, ["rcnn", "ssd"])
    return revision


def test_all_parts_of_a_revision_are_read(compared: Any) -> None:
    head = read("HEAD")
    assert (head.problem, head.commit) == ("", compared.git("rev-parse", "HEAD"))
    assert head.parameters["rcnn"] == {"svm": {"C": 0.001, "passes": 1}}
    assert head.metrics["rcnn"]["map_voc07"] == 0.9
    assert list(head.metrics) == ["rcnn"]
    assert head.timing["rcnn"]["total_median"] == 0.2
    assert head.costs == {"rcnn_svm": {"seconds": 5, "resumed": False}}
    assert head.curves == {"rcnn": {"one": [(0.5, 1.0), (0.9, 0.5)]}}
    assert list(head.stages) == ["rcnn_svm", "rcnn_detect", "evaluate@rcnn"]
    assert head.stages["rcnn_svm"].parameters == {"rcnn.svm.C": 0.001}


@pytest.mark.parametrize("name", ["HEAD", "main", "v1", "workspace"])
def test_branches_tags_commits_and_the_workspace_name_the_same(compared: Any, name: str) -> None:
    compared.git("tag", "v1")
    commit = compared.git("rev-parse", "HEAD")
    assert read(name).holds_the_same_as(read(commit[:9]))


def test_an_experiment_is_read_by_its_name_or_its_reference(compared: Any) -> None:
    base = compared.git("rev-parse", "HEAD")
    by_name = read("far")
    assert by_name.metrics["rcnn"]["map_voc07"] == 0.7
    assert by_name.holds_the_same_as(read(f"refs/exps/{base[:2]}/{base[2:]}/far"))
    assert by_name.label == f"far ({by_name.commit[:7]})"


def test_names_are_read_once_in_their_order(compared: Any) -> None:
    assert [r.name for r in read_revisions(["far", "HEAD", "far"], LAYOUT, [])] == ["far", "HEAD"]


def test_experiments_of_other_commits_are_not_listed(compared: Any) -> None:
    assert default_names() == ["HEAD", "workspace", "far", "close"]
    compared.commit("next")
    assert default_names() == ["HEAD", "workspace"]
    assert read("far").metrics["rcnn"]["map_voc07"] == 0.7


def test_without_a_commit_there_is_the_workspace_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    Repo.init(str(tmp_path), no_scm=True).close()
    monkeypatch.chdir(tmp_path)
    assert default_names() == ["workspace"]
    assert read("workspace").problem == ""
    assert read("HEAD").problem != ""


def test_a_commit_from_before_dvc_says_so(compared: Any) -> None:
    empty_tree = compared.git("hash-object", "-t", "tree", "-w", "/dev/null")
    compared.git("tag", "bare", compared.git("commit-tree", "-m", "no DVC yet", empty_tree))
    assert read("bare").problem == "At this commit there was no DVC project in this folder."


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("params.yaml", "a: [", "params.yaml"),
        ("dvc.yaml", "stages: 3", "dvc.yaml"),
        ("dvc.lock", "schema: '2.0'\nstages:\n  rcnn_svm:\n    outs: 3\n", "dvc.lock: its stages do not look"),
        ("reports/metrics/rcnn.json", "<<<<<<< ours", "reports/metrics/rcnn.json: not readable as JSON"),
        ("reports/timing/rcnn.json", "[1]", "reports/timing/rcnn.json: found a list"),
        ("reports/plots/ssd_pr.csv", "class,recall\na,1\n", "reports/plots/ssd_pr.csv: the columns"),
        ("reports/plots/ssd_pr.csv", "class,recall,precision\na,1,x\n", "reports/plots/ssd_pr.csv: the columns"),
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
    assert read("workspace").costs["rcnn_svm"]["seconds"] == 5
    compared.write("reports/costs/rcnn_svm.json", {"seconds": 1234})
    assert read("workspace").costs["rcnn_svm"]["seconds"] == 1234
    assert read("HEAD").costs["rcnn_svm"]["seconds"] == 5


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
    read_revisions(default_names(), LAYOUT, ["rcnn"])
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
        "work.sh", "mkdir -p models reports/costs\ncp params.yaml models/rcnn\necho '{\"seconds\": 4}' > $1\n"
    )
    stage = """
stages:
  rcnn_svm:
    cmd: sh work.sh reports/costs/rcnn_svm.json
    params: [rcnn.svm.C]
    outs: [models/rcnn, reports/costs/rcnn_svm.json]
"""
    compared.write("dvc.yaml", stage)
    compared.write(".gitignore", "/models\n/reports/costs\n")
    with Repo() as repo:
        repo.reproduce()
        compared.commit("run")
        repo.experiments.run(name="two", params=["rcnn.svm.C=2"])
    head, two = read_revisions(["HEAD", "two"], LAYOUT, ["rcnn"])
    assert default_names() == ["HEAD", "workspace", "two"]
    assert (head.parameters["rcnn"]["svm"]["C"], two.parameters["rcnn"]["svm"]["C"]) == (1, 2)
    assert two.costs == {"rcnn_svm": {"seconds": 4}}
    assert two.stages["rcnn_svm"].parameters == {"rcnn.svm.C": 2}
    assert two.stages["rcnn_svm"].outputs["models/rcnn"] != head.stages["rcnn_svm"].outputs["models/rcnn"]
    assert two.not_run_with_parameters() == []
