"""Stage ``report``: the dataset, the scores of all systems evaluated so far, and their detections, as page and tables.

    python -m stages.report

Reads data/index/*.json, reports/{metrics,timing,costs}/*.json, curves of reports/plots, detections/*.json and the
images below data.root; writes reports/index.html, the same figures as reports/summary.{md,csv}, what it prints as
summary.txt, and reports/plots/accuracy_time.csv.

Sizes of artifacts are those that dvc.lock records: nothing is hashed or walked, and the stage does not depend on
gigabytes of caches. It need not depend on dvc.lock either, which changes with every stage: an artifact is made anew by
a stage whose costs, metrics or detections then are new, and these it reads.
"""

import csv
from pathlib import Path

from ruamel.yaml import YAML

from pipeline import params
from pipeline.core import runtime
from pipeline.core.storage import atomic, read_json
from pipeline.data.index import SPLITS, Index
from pipeline.evaluation.detections import Detections
from pipeline.registry import all_systems
from pipeline.report.facts import versions
from pipeline.report.page import Results, render
from pipeline.report.summary import accuracy_time, as_csv, as_markdown, printed, sections

METRICS = Path("reports/metrics")
PLOTS = Path("reports/plots")
TIMING = Path("reports/timing")
COSTS = Path("reports/costs")
RECALL = {
    "selective search": PLOTS / "proposals_test.csv",
    "RPN": PLOTS / "faster_rcnn_proposals2/test.csv",
}
SVD = (METRICS / "fast_rcnn_svd.json", TIMING / "fast_rcnn_svd.json")
ARTIFACTS = ("features", "models", "proposals", "detections")
LOCK = Path("dvc.lock")
PAGE = Path("reports/index.html")
MARKDOWN, TABLES, PRINTED = (Path(f"reports/summary.{kind}") for kind in ("md", "csv", "txt"))
ACCURACY_TIME = Path("reports/plots/accuracy_time.csv")


def main() -> None:
    p = params.load()
    indices = {split: Index.load(Path(f"data/index/{split}.json")) for split in SPLITS}
    metrics = {
        name: read_json(METRICS / f"{name}.json") for name in all_systems() if (METRICS / f"{name}.json").exists()
    }
    proposals = {split: METRICS / f"proposals_{split}.json" for split in SPLITS}
    results = Results(
        source=p.data.source,
        indices=indices,
        metrics=metrics,
        detections={
            name: Detections.load(Path(f"detections/{name}.json"), indices["test"], f"dvc repro {name}_detect")
            for name in metrics
        },
        proposals={split: read_json(path) for split, path in proposals.items() if path.exists()},
        # Without runtime, which changes no result and so may not change the page.
        parameters={
            "seed": p.seed,
            "data": p.data.model_dump(mode="json"),
            "proposals": p.proposals.model_dump(mode="json"),
            "backbone": p.backbone.model_dump(mode="json"),
            "pretrain": p.pretrain.model_dump(mode="json"),
            "rcnn": p.rcnn.model_dump(mode="json"),
            "sppnet": p.sppnet.model_dump(mode="json"),
            "fast_rcnn": p.fast_rcnn.model_dump(mode="json"),
            "faster_rcnn": p.faster_rcnn.model_dump(mode="json"),
            "yolo": p.yolo.model_dump(mode="json"),
            "ssd": p.ssd.model_dump(mode="json"),
            "evaluation": p.evaluation.model_dump(mode="json"),
            "timing": p.timing.model_dump(mode="json"),
            "report": p.report.model_dump(mode="json"),
        },
        recall={name: _rows(path) for name, path in RECALL.items() if path.exists()},
        timing={
            name: read_json(TIMING / f"{name}.json") for name in all_systems() if (TIMING / f"{name}.json").exists()
        },
        costs={path.stem: read_json(path) for path in sorted(COSTS.glob("*.json"))},
        errors={name: _rows(path) for name in metrics if (path := PLOTS / f"errors/{name}.csv").exists()},
        svd={key: value for path in SVD for key, value in read_json(path).items()}
        if all(map(Path.exists, SVD))
        else {},
        artifacts=_sizes(LOCK) if LOCK.exists() else {},
        versions=versions(),
    )
    page = render(
        results, Path(p.data.root), p.report.images, p.report.min_score, p.evaluation.iou, p.evaluation.similar
    )
    level = p.evaluation.bootstrap.level
    tables = sections(metrics, results.timing, results.costs, level, results.artifacts, results.versions)
    heading = f"{len(metrics)} detectors on {len(indices['test'].images)} test images ({p.data.source})"
    shown = f"{printed(metrics, results.timing)}\nThe page: {PAGE}\nThe tables: {MARKDOWN}, {TABLES}\n"
    for path, text in (
        (PAGE, page),
        (MARKDOWN, as_markdown(heading, tables)),
        (TABLES, as_csv(tables)),
        (PRINTED, shown),
        (ACCURACY_TIME, accuracy_time(metrics, results.timing)),
    ):
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    print(shown, end="")


def _rows(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def _sizes(lock: Path) -> dict[str, int]:
    """Return the bytes of every artifact by path."""
    stages = YAML(typ="safe").load(lock)["stages"].values()
    outs = (out for stage in stages for out in stage.get("outs", ()))
    return {out["path"]: out["size"] for out in outs if out["path"].split("/")[0] in ARTIFACTS}


if __name__ == "__main__":
    runtime.run(main)
