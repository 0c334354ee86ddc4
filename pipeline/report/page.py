"""From data to the one self-contained HTML file: no network, one script of its own, same bytes for same input."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.colours import class_colour
from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.errors import TYPES, similar_classes
from pipeline.evaluation.metrics import rankings
from pipeline.html_templates import environment
from pipeline.report.colours import PHASE_COLOURS, TYPE_COLOURS
from pipeline.report.curves import SIDE, panels
from pipeline.report.facts import folders, size
from pipeline.report.gallery import photos, tile_ratio
from pipeline.report.published import PUBLISHED, PUBLISHED_SPEEDS
from pipeline.report.recall import COLOURS, most_boxes, recall_panels
from pipeline.report.scales import scales
from pipeline.report.story import duration, interval, story
from pipeline.report.tables import class_table, number, parameter_rows, percent, proposal_table, split_rows
from pipeline.report.times import milliseconds, surroundings, time_rows, times
from pipeline.report.trends import trends
from pipeline.systems import all_systems

TEMPLATES = Path(__file__).parent / "templates"
MEAN_APS = ("map_voc07", "map_voc", "map_coco")


@dataclass(frozen=True)
class Results:
    """What the page is about.

    Attributes:
        source: kind of dataset, for the title.
        indices: the dataset index of each split; the detections belong to ``test``.
        metrics: figures by system, in the order to show (`pipeline.evaluation.metrics.metrics`).
        detections: by system, the same systems.
        proposals: figures about the proposals by split, may be empty.
        parameters: all that changes a result, nested as in ``params.yaml``.
        recall: how proposals of the test split cover its objects, by their kind (`report.recall.COLOURS`).
        timing: test times by system, may be empty (`pipeline.timing`).
        costs: of the long stages by name, may be empty (`pipeline.core.costs`).
        errors: shares of error types among the first errors by system, may be empty (`report.trends`).
        svd: what truncated SVD costs and saves in Fast R-CNN, may be empty.
        artifacts: bytes by path, may be empty.
        versions: of what was installed, by name.
    """

    source: str
    indices: Mapping[str, Index]
    metrics: Mapping[str, Mapping[str, Any]]
    detections: Mapping[str, Detections]
    proposals: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, Any]
    recall: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    timing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    svd: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def render(
    results: Results,
    root: Path,
    images: int,
    min_score: float | None,
    iou: float,
    similar: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return the page.

    Args:
        results: what the page is about.
        root: folder with the images of the index.
        images: number of test images to show.
        min_score: least score of a box drawn at first; None: the score with the best F1 of each system.
        iou: overlap of a correct detection, for the curves, the best F1 and the types of detections.
        similar: sets of similar classes by name, for the types of detections.

    Raises:
        UnreadableImageError: an image to show is missing or broken.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    pages = environment(TEMPLATES)
    pages.filters |= {
        function.__name__: function for function in (duration, milliseconds, number, percent, size, times)
    }
    test = results.indices["test"]
    return pages.get_template("page.html").render(
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        source=results.source,
        classes={name: class_colour(label) for label, name in enumerate(test.classes, 1)},
        splits=split_rows(results.indices),
        systems={name: all_systems()[name] for name in results.metrics},
        all_systems=all_systems(),
        system_colours={name: each.colour for name, each in all_systems().items()},
        iou=iou,
        min_score=min_score,
        side=SIDE,
        parameters=parameter_rows(results.parameters),
        **_scores(results),
        **_times(results),
        **_pictures(results, root, images, min_score, iou, similar or {}),
    )


def _scores(results: Results) -> dict[str, Any]:
    """Return what the sections on scores, errors and proposals show."""
    spans = {name: {key: interval(figures, key) for key in MEAN_APS} for name, figures in results.metrics.items()}
    return {
        "story": story(results.metrics, results.timing),
        "metrics": results.metrics,
        "intervals": spans,
        "spanned": any(ends for of_system in spans.values() for ends in of_system.values()),
        "sized": any(figures.get("by_size") for figures in results.metrics.values()),
        "per_class": class_table(results.indices["test"].classes, results.metrics),
        "bars": {name: _top_shares(figures) for name, figures in results.metrics.items()},
        "type_colours": TYPE_COLOURS,
        "trends": trends({name: results.errors[name] for name in results.metrics if name in results.errors}),
        "proposals": proposal_table(results.proposals),
        "recall": recall_panels(results.recall),
        "recall_most": most_boxes(results.recall),
        "recall_colours": {name: COLOURS[name] for name in results.recall},
    }


def _times(results: Results) -> dict[str, Any]:
    """Return what the sections on time, cost and size show."""
    rows = time_rows(results.timing)
    return {
        "times": rows,
        "time_places": surroundings(results.timing),
        "batched": any(row.rates for row in rows.values()),
        "phase_colours": PHASE_COLOURS,
        "published": PUBLISHED,
        "published_speeds": PUBLISHED_SPEEDS,
        "svd": results.svd,
        "costs": results.costs,
        "processor": any("cpu_seconds" in cost for cost in results.costs.values()),
        "on_gpu": any(cost["gpu_memory_mb"] for cost in results.costs.values()),
        "artifacts": folders(results.artifacts),
        "versions": results.versions,
    }


def _pictures(
    results: Results,
    root: Path,
    images: int,
    min_score: float | None,
    iou: float,
    similar: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Return what the curves and the gallery show."""
    test = results.indices["test"]
    ranked = {name: rankings(test, found, iou) for name, found in results.detections.items()}
    chosen = Index(test.classes, tuple(test.spread(images)))
    ids = [image.id for image in chosen.images]
    shown = {name: found.take(np.isin(found.image_ids, ids)) for name, found in results.detections.items()}
    by_system = scales(shown, len(ids), ranked, min_score)
    floors = {name: scale.floor for name, scale in by_system.items()}
    pictures = photos(chosen, root, shown, floors, similar_classes(test.classes, similar), iou)
    return {
        "panels": panels(test.classes, ranked),
        "scales": by_system,
        "photos": pictures,
        "ratio": round(tile_ratio([(photo.width, photo.height) for photo in pictures]), 3),
    }


def _top_shares(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of the five types among the top N detections, from the metrics of one system."""
    correct = figures["correct"]
    return {TYPES[0]: correct} | {name: (1 - correct) * share for name, share in figures["errors"].items()}
