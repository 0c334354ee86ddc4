"""`boxline fit`: a preset of the values that follow from a dataset's objects, each with the figure it follows from.

It is laid over the preset ``folder``. What reference boxes, image sizes and limits would fit, each system says itself;
here are the lengths of the schedules.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.core.params import Schedule, Section
from pipeline.core.sections import RegionSampling
from pipeline.data.dataset import read_dataset
from pipeline.data.index import Index
from pipeline.fitting import Fitted
from pipeline.params import Params
from pipeline.presets import Values, overlay, params_of, read
from pipeline.registry import all_systems
from pipeline.survey.reach import MOST_IMAGES, PRESET, sample, system_reach, training_indices

# What that preset's schedules were chosen on; its opening comment has what they cost and score there.
IMAGES, OBJECTS = 292, 3941
LONGEST = 10


def fit(folder: Path, source: str, presets: Path, file: Path) -> str:
    """Return the text of the preset for the dataset in ``folder``.

    Args:
        folder: annotated images.
        source: their format, a value of ``data.source``.
        presets: the folder with the preset that it is laid over.
        file: under which name a person is told to lay it over ``params.yaml``.

    Raises:
        InputError: the dataset cannot be used, or there is no such preset.
    """
    base = read(presets, PRESET) | {"data.root": folder.as_posix(), "data.source": source}
    before = params_of(base, PRESET)
    indices = training_indices(before, read_dataset(before.data, before.runtime.workers).splits)
    fitted = [each for name in before.systems for each in all_systems()[name].fit(before, indices)]
    fitted += schedules(before, indices)
    values: Values = {each.key: each.value for each in fitted}
    after = params_of(base | values, "the fitted preset")
    where = {key: base[key] for key in ("data.root", "data.source")}
    comments = {each.key: f"{each.reason[0].upper()}{each.reason[1:]}." for each in fitted}
    return overlay(where | values, comments, "\n".join(_heading(before, after, indices, file)))


def _heading(before: Params, after: Params, indices: Sequence[Index], file: Path) -> Iterator[str]:
    images = [image for index in indices for image in index.images]
    objects = sum(len(image.boxes) for image in images)
    yield f"Fitted to the {objects:,} objects in the {len(images):,} images of {' and '.join(before.data.fit_splits)}."
    yield ""
    yield f"  boxline preset {PRESET} {file.as_posix()}"
    yield ""
    yield f"What training makes of the objects, with the preset {PRESET} and with these values over it:"
    counted = sample(indices, MOST_IMAGES)
    both = zip(system_reach(before, counted).items(), system_reach(after, counted).values(), strict=True)
    for (title, old), new in both:
        for was, now in zip(old, new, strict=True):
            yield f"  {was.share:6.1%} {now.share:6.1%}  {title}: {now.what}"


def schedules(params: Params, indices: Sequence[Index]) -> list[Fitted]:
    """Return longer schedules for a dataset with more images or objects than `IMAGES` and `OBJECTS`.

    They make as many passes over the images, or over the objects where regions are drawn, but have no more than
    `LONGEST` times the steps. A smaller dataset gets no shorter ones: what is learned takes as many steps.
    """
    images = sum(len(index.images) for index in indices)
    objects = sum(len(image.boxes) for index in indices for image in index.images)
    fitted = []
    for name in params.systems:
        for key, owner, schedule in _schedules(getattr(params, name, None), name):
            counted = (objects, OBJECTS, "objects") if isinstance(owner, RegionSampling) else (images, IMAGES, "images")
            fitted += _lengthened(key, schedule, *counted)
    return fitted


def _schedules(section: Section | None, key: str) -> Iterator[tuple[str, Section, Schedule]]:
    """Yield the schedules below a section, each with its key and the section that holds it."""
    if section is None:
        return
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Schedule):
            yield f"{key}.{name}", section, value
        elif isinstance(value, Section):
            yield from _schedules(value, f"{key}.{name}")


def _lengthened(key: str, schedule: Schedule, count: int, chosen_on: int, unit: str) -> list[Fitted]:
    factor = float(np.clip(count / chosen_on, 1, LONGEST))
    if factor == 1:
        return []
    steps = _two_digits(factor * schedule.steps)
    passes = "as many passes" if factor < LONGEST else f"{LONGEST} times the steps, the most that is proposed"
    reason = f"{count:,} {unit}, and {schedule.steps:,} steps were chosen on {chosen_on:,}: {passes}"
    decays = [_two_digits(factor * step) for step in schedule.decay_at]
    return [Fitted(f"{key}.steps", steps, reason), Fitted(f"{key}.decay_at", decays, "at the same share of the steps")]


def _two_digits(number: float) -> int:
    return int(float(f"{number:.2g}"))
