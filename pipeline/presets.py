"""Presets: files of parameter values that are laid over ``params.yaml``, which keeps its comments and layout."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import yaml_text
from pipeline.core.errors import InputError
from pipeline.core.params import Section
from pipeline.parameter_keys import all_keys, members
from pipeline.params import Params, parse
from pipeline.yaml_text import KeyPath

Values = dict[KeyPath, str]
"""Parameter values as YAML text, by their path."""


class UnknownNameError(InputError):
    """There is no preset or parameter of that name; the sentence lists those with near names."""


@dataclass(frozen=True)
class Change:
    """One parameter that gets another value; both as YAML text."""

    key: str
    old: str
    new: str

    def __str__(self) -> str:
        return " ".join(f"{self.key}: {self.old} -> {self.new}".split())


def available(folder: Path) -> dict[str, str]:
    """Return the names of the presets in ``folder``, sorted, each with the first line of its opening comment."""
    return {file.stem: _first_comment(file) for file in sorted(folder.glob("*.yaml"))}


def read(folder: Path, name: str) -> Values:
    """Return the values that the preset ``name`` sets.

    Raises:
        UnknownNameError: there is no such preset, or it sets a parameter that does not exist.
        InputError: the file is not YAML.
    """
    names = list(available(folder))
    if name not in names:
        raise UnknownNameError(f"There is no preset {name!r}; {_near(name, names)}.")
    file = folder / f"{name}.yaml"
    text = file.read_text(encoding="utf-8")
    return dict(_leaves(text, yaml_text.compose(text, str(file)), Params))


def assigned(assignments: Iterable[str]) -> Values:
    """Return the values of ``KEY=VALUE`` arguments; KEY is a dotted path and VALUE is YAML.

    Raises:
        UnknownNameError: there is no such parameter.
        InputError: an argument has no ``=``, or its VALUE is not YAML.
    """
    values: Values = {}
    known = list(all_keys())
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UnknownNameError(f"{assignment!r} assigns nothing; KEY=VALUE is expected, such as rcnn.svm.C=0.01.")
        if key not in known:
            raise UnknownNameError(f"There is no parameter {key!r}; {_near(key, known)}.")
        value = yaml_text.write_flow(yaml_text.parse(text, f"the value of {key}"))
        nested = _nest(key.split("."), value)
        values |= _leaves(nested, yaml_text.compose(nested, assignment), Params)
    return values


def lay_over(text: str, values: Mapping[KeyPath, str], source: str) -> tuple[str, list[Change]]:
    """Return the text of ``params.yaml`` with ``values`` in it, and what changed; equal values are left untouched.

    Raises:
        InputError: the result is not a valid set of parameters, the sentence names the key.
    """
    tree = yaml_text.compose(text, source)
    changed: Values = {}
    changes = []
    for path, new in values.items():
        node = yaml_text.find(tree, path)
        old = yaml_text.one_line(text, node) if node is not None else ""
        if node is None or yaml_text.parse(old, source) != yaml_text.parse(new, source):
            changed[path] = new
            changes.append(Change(".".join(path), old, new))
    result = yaml_text.replace(text, changed, source)
    parse(yaml_text.parse(result, source), source)
    return result, changes


def _leaves(
    text: str, node: yaml_text.MappingNode, section: type[Section], path: KeyPath = ()
) -> Iterator[tuple[KeyPath, str]]:
    known = members(section)
    for name, value in node.value:
        here = (*path, str(name.value))
        if name.value not in known:
            raise UnknownNameError(f"There is no parameter {'.'.join(here)!r}; {_near('.'.join(here), all_keys())}.")
        inner = known[name.value]
        if inner is not None and isinstance(value, yaml_text.MappingNode):
            yield from _leaves(text, value, inner, here)
        else:
            yield here, yaml_text.one_line(text, value)


def _nest(keys: list[str], value: str) -> str:
    return "{" + keys[0] + ": " + (value if len(keys) == 1 else _nest(keys[1:], value)) + "}"


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = [other for other in known if other.endswith(f".{name}")]
    near += [other for other in difflib.get_close_matches(name, known, cutoff=0.5) if other not in near]
    return f"near it: {', '.join(near)}" if near else f"known: {', '.join(k for k in known if '.' not in k)}"


def _first_comment(file: Path) -> str:
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
