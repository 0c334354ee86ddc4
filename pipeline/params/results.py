"""Sections of ``params.yaml`` on evaluation, timing and the report, and where all of it runs."""

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.params.section import Count, Fraction, Positive, Section, distinct


class Bootstrap(Section):
    """Intervals of the mean APs over samples of the test images."""

    samples: Positive
    level: Annotated[float, Field(gt=0, lt=1)]


class Evaluation(Section):
    """How detections are judged."""

    iou: Fraction
    bootstrap: Bootstrap
    similar: dict[str, tuple[str, ...]]


class Timing(Section):
    """How test times are measured."""

    images: Positive
    warmup: Count
    batches: Annotated[tuple[Positive, ...], AfterValidator(distinct)]


class Report(Section):
    """What the report page shows."""

    images: Count
    min_score: float | None


class Runtime(Section):
    """Where things run. No stage depends on it: it changes no byte of any output."""

    device: str
    workers: Count
    image_cache_mb: Count
