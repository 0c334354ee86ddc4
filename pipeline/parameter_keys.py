"""The names of all parameters, from their models."""

import inspect
from collections.abc import Iterator

from pipeline.core.params import Section
from pipeline.params import Params


def members(section: type[Section]) -> dict[str, type[Section] | None]:
    """Return the keys of a section, each with its own section, or None where it holds a value."""
    annotations = {name: field.annotation for name, field in section.model_fields.items()}
    return {name: kind if _is_section(kind) else None for name, kind in annotations.items()}  # type: ignore[misc]


def all_keys(section: type[Section] = Params, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every section and every value, such as ``rcnn.svm`` and ``rcnn.svm.C``."""
    for name, inner in members(section).items():
        yield prefix + name
        if inner is not None:
            yield from all_keys(inner, f"{prefix}{name}.")


def _is_section(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, Section)
