"""The dataset, the scores of the systems, and their detections, as a page and tables.

    python -m stages.report

Reads what `evaluate` and `timing` wrote for each system, reports/stages/shared, the index and the images below
data.root; writes reports/index.html, the same figures as reports/summary/summary.{md,csv}, what it prints as
summary.txt, and reports/plots, the tables that `dvc plots` draws.

Sizes of artifacts are those that dvc.lock and systems/*/dvc.lock record. The stage need not depend on them: an artifact
is made anew by a stage whose costs, metrics or detections then are new, and these it reads.
"""

from pathlib import Path

from pipeline.core.storage import atomic
from pipeline.report.page import render
from pipeline.report.plots import write_plots
from pipeline.report.results import read
from pipeline.report.summary import as_csv, as_markdown, as_text, summary_tables
from pipeline.stage import Stage, run

SHARED = ("systems", "seed", "data", "proposals", "backbones", "pretrain", "evaluation", "timing", "report")


def main(stage: Stage) -> None:
    p, page, summary = stage.params, stage.out("reports/index.html"), stage.out("reports/summary")
    source, level = p.data.source, p.evaluation.bootstrap.level
    results = read(Path(), p.systems, source, stage.plain(SHARED))
    html = render(results, stage.files, p.report.images, p.report.min_score, p.evaluation.iou, level)
    tables = summary_tables(results, level)
    heading = f"{results.counted} on {len(results.indices['test'].images)} test images ({source})"
    text = f"{as_text(results)}\nThe page: {page}\nThe tables: {summary}/summary.md, {summary}/summary.csv\n"
    for path, content in (
        (page, html),
        (summary / "summary.md", as_markdown(heading, tables)),
        (summary / "summary.csv", as_csv(tables)),
        (summary / "summary.txt", text),
    ):
        with atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8", newline="\n")
    write_plots(stage.out("reports/plots"), results, Path("reports"))
    print(text, end="")


if __name__ == "__main__":
    run(main)
