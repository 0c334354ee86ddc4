"""The one self-contained HTML file: no network, one script of its own, same bytes for the same results."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from pipeline.core.colours import class_colour
from pipeline.evaluation import ap_costs
from pipeline.html_templates import environment
from pipeline.report.charts import SIDE, class_panels, error_trends, f1_panels, recall_chart
from pipeline.report.colours import PHASE_COLOURS, TYPE_COLOURS
from pipeline.report.gallery import EMPTY, gallery
from pipeline.report.headline import headline
from pipeline.report.matrix import matrix
from pipeline.report.results import Results
from pipeline.report.tables import (
    ERRORS,
    MEAN_APS,
    columns_of,
    duration,
    error_costs,
    figure_text,
    flat,
    folders,
    interval,
    milliseconds,
    number,
    parameter_rows,
    percent,
    size,
    split_rows,
    surroundings,
    time_rows,
    times,
    top_shares,
)

TEMPLATES = Path(__file__).parent / "templates"
# Bytes of the page: what a browser still opens at once, and a mail still carries.
LARGEST = 10_000_000
# Of these, for the sentences that say how many pictures there are.
SENTENCES = 1000


def render(results: Results, root: Path, images: int | None, min_score: float | None, iou: float, level: float) -> str:
    """Return the page, of at most `LARGEST` bytes as long as all but its pictures leaves room.

    Args:
        results: what the page is about.
        root: folder with the images of the index.
        images: test images to show at most; None: all that the page has room for.
        min_score: least score of a box drawn at first, for print; None: the score with the best F1 of each class.
        iou: overlap of a correct detection, for print.
        level: share of the samples inside the intervals, for print.

    Raises:
        InputError: an image to show is not among those that were evaluated to be shown.
        UnreadableImageError: an image to show is missing or broken.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    pages = environment(TEMPLATES)
    pages.filters |= {
        function.__name__: function for function in (duration, figure_text, milliseconds, number, percent, size, times)
    }
    test = results.indices["test"]
    template, detection = pages.get_template("page.html"), results.of("detect")
    content = dict(
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        source=results.source,
        classes={name: class_colour(label) for label, name in enumerate(test.classes, 1)},
        splits=split_rows(results.indices),
        systems=detection.systems,
        every=results.systems,
        counted=results.counted,
        headline=headline(detection),
        iou=iou,
        level=f"{100 * level:g}",
        min_score=min_score,
        most=images,
        largest=LARGEST,
        test_images=len(test.images),
        side=SIDE,
        parameters=parameter_rows(results.parameters),
        **_scores(detection),
        **_times(results),
        errors_of_guesses=_errors_of_guesses(results),
        error_titles=ERRORS,
    )
    if images == 0:
        return template.render(**content, pictures=None)
    room = LARGEST - SENTENCES - len(template.render(**content, pictures=EMPTY).encode())
    return template.render(**content, pictures=gallery(test, root, results.shown, results.systems, images, room))


def _scores(results: Results) -> dict[str, Any]:
    """Return what the sections on scores, errors and proposals show."""
    spans = {name: {key: interval(figures, key) for key in MEAN_APS} for name, figures in results.metrics.items()}
    proposals = {split: dict(flat(figures)) for split, figures in results.proposals.items()}
    costs = error_costs(results.metrics)
    return {
        "metrics": results.metrics,
        "intervals": spans,
        "spanned": any(ends for of_system in spans.values() for ends in of_system.values()),
        "sized": any(figures.get("by_size") for figures in results.metrics.values()),
        "whole_images": results.whole_images,
        "per_class": {
            name: [figures["per_class"][name] for figures in results.metrics.values()]
            for name in results.indices["test"].classes
        },
        "bars": {name: top_shares(figures) for name, figures in results.metrics.items()},
        "type_colours": TYPE_COLOURS,
        "trends": error_trends(results.errors),
        "costs_of_errors": costs,
        "dearest": max((of_system[name] for of_system in costs.values() for name in ap_costs.TYPES), default=0),
        "matrices": {
            name: matrix(figures["confusion"], results.indices["test"].classes)
            for name, figures in results.metrics.items()
            if "confusion" in figures
        },
        "panels": class_panels(results),
        "f1_panels": f1_panels(results),
        "proposals": proposals,
        "proposal_columns": columns_of(proposals.values()),
        "recall": recall_chart(results),
    }


def _errors_of_guesses(results: Results) -> dict[str, dict[str, tuple[float | None, tuple[float, float] | None]]]:
    """Return by system and measure of `ERRORS` its value and interval."""
    return {
        name: {key: (figures[key], interval(figures, key)) for key in ERRORS}
        for name, figures in results.localised.items()
    }


def _times(results: Results) -> dict[str, Any]:
    """Return what the sections on time, cost and size show."""
    rows, others = (time_rows(results.of(task).timing) for task in ("detect", "localise"))
    costs = [cost for records in results.costs.values() for cost in records.values()]
    return {
        "times": rows,
        "times_by_task": [(title, group) for title, group in (("", rows), (": localisation", others)) if group],
        "boxes_scored": results.boxes_scored,
        "time_places": surroundings(results.timing),
        "batched": any(row.rates for row in (*rows.values(), *others.values())),
        "phase_colours": PHASE_COLOURS,
        "costs": {results.owner(name): (name, records) for name, records in results.costs.items()},
        "seconds": sum(cost["seconds"] for cost in costs),
        "processor": any("cpu_seconds" in cost for cost in costs),
        "on_gpu": any(cost["gpu_memory_mb"] for cost in costs),
        "stage_figures": results.stage_figures,
        "artifacts": folders(results.artifacts),
        "versions": results.versions,
    }
