"""Records collected from the folders that stages leave."""

from pipeline.core.storage import write_csv, write_json
from pipeline.evaluation.stages import copy_curves, stage_records


def test_a_record_holds_what_its_stage_wrote(tmp_path):
    write_json(tmp_path / "svm/cost.json", {"seconds": 1.5, "unit": "image"})
    write_json(tmp_path / "svm/metrics.json", {"positives": 3})
    write_json(tmp_path / "svd/timing.json", {"fc_seconds": 0.25})
    write_csv(tmp_path / "proposals/test.csv", ["boxes", "recall_50"], [(1, 0.5), (2, 1.0)])
    assert stage_records(tmp_path) == {
        "proposals": {"recall": {"test": [{"boxes": 1.0, "recall_50": 0.5}, {"boxes": 2.0, "recall_50": 1.0}]}},
        "svd": {"timing": {"fc_seconds": 0.25}},
        "svm": {"seconds": 1.5, "unit": "image", "metrics": {"positives": 3}},
    }


def test_a_system_without_stages(tmp_path):
    assert stage_records(tmp_path / "none") == {}
    copy_curves(tmp_path / "none", tmp_path / "curves")
    assert list((tmp_path / "curves").iterdir()) == []


def test_curves_are_copied_and_old_ones_go(tmp_path):
    for stage in ("train", "svm"):
        (tmp_path / f"stages/{stage}/curves").mkdir(parents=True)
        (tmp_path / f"stages/{stage}/curves/loss.tsv").write_text(stage)
    (tmp_path / "curves/old").mkdir(parents=True)
    copy_curves(tmp_path / "stages", tmp_path / "curves")
    files = {path.relative_to(tmp_path / "curves").as_posix(): path.read_text() for path in tmp_path.glob("curves/*/*")}
    assert files == {"train/loss.tsv": "train", "svm/loss.tsv": "svm"}
