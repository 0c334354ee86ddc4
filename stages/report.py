"""Stage ``report``: the dataset, the scores of the systems, and their detections, as page and tables.

    python -m stages.report

Reads data/index, reports/{metrics,timing,costs,errors,precision_recall,shown}, reports/stages/shared and the images
below data.root; writes reports/index.html, the same figures as reports/summary.{md,csv}, what it prints as
summary.txt, and reports/accuracy_time.csv.

Sizes of artifacts are those that dvc.lock and systems/*/dvc.lock record. The stage need not depend on them: an artifact
is made anew by a stage whose costs, metrics or detections then are new, and these it reads.
"""

from pathlib import Path

from pipeline import params
from pipeline.core import runtime
from pipeline.core.storage import atomic
from pipeline.report.page import render
from pipeline.report.results import read
from pipeline.report.summary import accuracy_time, as_csv, as_markdown, as_text, summary_tables
from pipeline.systems import all_systems

PAGE = Path("reports/index.html")
MARKDOWN, TABLES, PRINTED = (Path(f"reports/summary.{kind}") for kind in ("md", "csv", "txt"))
ACCURACY_TIME = Path("reports/accuracy_time.csv")


def main() -> None:
    p = params.load()
    # Without runtime, which changes no result and so may not change the page.
    parameters = p.model_dump(mode="json", exclude={"runtime"})
    results = read(Path(), list(all_systems()), p.data.source, parameters)
    level = p.evaluation.bootstrap.level
    page = render(results, Path(p.data.root), p.report.images, p.report.min_score, p.evaluation.iou, level)
    tables = summary_tables(results, level)
    heading = f"{len(results.systems)} detectors on {len(results.indices['test'].images)} test images ({p.data.source})"
    text = f"{as_text(results)}\nThe page: {PAGE}\nThe tables: {MARKDOWN}, {TABLES}\n"
    for path, content in (
        (PAGE, page),
        (MARKDOWN, as_markdown(heading, tables)),
        (TABLES, as_csv(tables)),
        (PRINTED, text),
        (ACCURACY_TIME, accuracy_time(results)),
    ):
        with atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
    print(text, end="")


if __name__ == "__main__":
    runtime.run(main)
