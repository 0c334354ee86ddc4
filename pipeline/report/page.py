"""From data to the one self-contained HTML file: no network, no scripts, the same bytes for the same input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from pipeline.data.index import Index
from pipeline.evaluation.detections import Detections
from pipeline.evaluation.errors import TYPES
from pipeline.evaluation.metrics import rankings
from pipeline.evaluation.systems import SYSTEMS
from pipeline.report.colours import SYSTEM_COLOURS, TYPE_COLOURS, class_colour
from pipeline.report.curves import SIDE, panels
from pipeline.report.gallery import photos, thresholds, tile_ratio
from pipeline.report.recall import COLOURS, recall_panels
from pipeline.report.tables import class_table, least_score, number, parameter_rows, percent, proposal_table, split_rows
from pipeline.report.times import surroundings, time_rows


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
        timing: test times by system, may be empty (`pipeline.detectors.online.timing`).
        costs: of the long stages by name, may be empty (`pipeline.costs`).
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


def render(results: Results, root: Path, images: int, min_score: float | None, iou: float) -> str:
    """Return the page.

    Args:
        results: what the page is about.
        root: folder with the images of the index.
        images: number of test images to show.
        min_score: least score of a drawn box; None: the score with the best F1 per system and class.
        iou: overlap of a correct detection, for the curves and the best F1.

    Raises:
        UnreadableImageError: an image to show is missing or broken.
    """
    test = results.indices["test"]
    ranked = {name: rankings(test, found, iou) for name, found in results.detections.items()}
    least = {name: thresholds(by_class, min_score) for name, by_class in ranked.items()}
    pictures = photos(test, root, images, results.detections, least)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number, "least_score": least_score}
    return environment.get_template("page.html").render(
        source=results.source,
        classes={name: class_colour(label) for label, name in enumerate(test.classes, 1)},
        splits=split_rows(results.indices),
        systems={name: SYSTEMS[name] for name in results.metrics},
        all_systems=SYSTEMS,
        system_colours=SYSTEM_COLOURS,
        metrics=results.metrics,
        per_class=class_table(test.classes, results.metrics),
        bars={name: _top_shares(figures) for name, figures in results.metrics.items()},
        type_colours=TYPE_COLOURS,
        panels=panels(test.classes, ranked),
        side=SIDE,
        iou=iou,
        proposals=proposal_table(results.proposals),
        recall=recall_panels(results.recall),
        recall_colours={name: COLOURS[name] for name in results.recall},
        times=time_rows(results.timing),
        time_places=surroundings(results.timing),
        costs=results.costs,
        photos=pictures,
        ratio=round(tile_ratio([(photo.width, photo.height) for photo in pictures]), 3),
        least=least,
        min_score=min_score,
        parameters=parameter_rows(results.parameters),
    )


def _top_shares(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares of the five types among the top N detections, from the metrics of one system."""
    correct = figures["correct"]
    return {TYPES[0]: correct} | {name: (1 - correct) * share for name, share in figures["errors"].items()}
