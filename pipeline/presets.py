"""``params.yaml`` from the parameter models, and presets: files of differences to the defaults.

The file has the form in which DVC itself writes it, down to the spaces at the ends of wrapped lines, so that
``dvc exp run -S KEY=VALUE`` changes the lines of that value and no others. The comment above a key is the sentence
below its field. A block whose kind has been explained further up, such as the SVMs of a second system, is one flow
mapping.
"""

import difflib
import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.comments import CommentedMap

from pipeline.core.errors import InputError
from pipeline.core.params import Section
from pipeline.params import FREE, Params, defaults, model, parse

HEADING = """All parameters of the pipeline, each key once; the file has the form in which DVC writes it.
A changed value re-runs the stages that list it in dvc.yaml, and what follows from them.
`boxline preset NAME` writes the defaults with the differences of presets/NAME.yaml; an empty value is null."""
WIDTH = 118
INDEX = "data/index"  # where the stage `index` writes
SUFFIX = ".yaml"

Values = dict[str, Any]
"""Parameter values, JSON values, by their dotted key."""


class UnknownNameError(InputError):
    """There is no preset or parameter of that name; the sentence lists those with near names."""


@dataclass(frozen=True)
class Change:
    """One parameter that gets another value."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_flow(self.old)} -> {_flow(self.new)}"


def available(folder: Path) -> dict[str, str]:
    """Return the names of the presets in ``folder``, sorted, each with the first line of its opening comment.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; run this in the project's folder.")
    return {file.stem: _first_comment(file) for file in sorted(folder.glob("*.yaml"))}


def read(folder: Path, name: str) -> Values:
    """Return the values that the preset ``name`` sets: one in ``folder``, or a file by its path, which ends in .yaml.

    Raises:
        UnknownNameError: there is no such preset, or it sets a parameter that does not exist.
        InputError: the file is not YAML.
    """
    if name.endswith(SUFFIX):
        file = Path(name)
        if not file.is_file():
            raise UnknownNameError(f"{name}: there is no such file.")
    else:
        names, file = list(available(folder)), folder / f"{name}{SUFFIX}"
        if name not in names:
            raise UnknownNameError(f"There is no preset {name!r}; {_near(name, names)}.")
    try:
        content = _parse(file.read_text(encoding="utf-8"), str(file)) or {}
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 text.") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{file}: holds no keys; `key: value` lines are expected.")
    return _checked(flatten(content, defaults()))


def assigned(assignments: Iterable[str]) -> Values:
    """Return the values of ``KEY=VALUE`` arguments; KEY is a dotted path and VALUE is YAML.

    Raises:
        UnknownNameError: there is no such parameter.
        InputError: an argument has no ``=``, or its VALUE is not YAML.
    """
    values: Values = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UnknownNameError(f"{assignment!r} assigns nothing; KEY=VALUE is expected, such as rcnn.svm.C=0.01.")
        value = _parse(text, f"the value of {key}")
        block = nested(defaults(), key)
        free = any(key == mapping or key.startswith(f"{mapping}.") for mapping in FREE)
        if not key or (block is None and not free and key not in flatten(defaults(), defaults())):
            raise _unknown(key)
        if isinstance(block, dict) and isinstance(value, Mapping) and not free:
            values |= _checked(flatten(value, block, key))
        else:
            values[key] = value
    return values


def lay_over(text: str, values: Values, source: str) -> tuple[str, list[Change]]:
    """Return the text of ``params.yaml`` with the defaults and ``values`` in it, and the changes.

    Keys that are missing come with their comments; keys that no longer exist go. Comments of other keys stay, those of
    the person too. A ``~`` in ``data.root`` becomes the home folder, as DVC would not expand it.

    Args:
        text: of the file as it is; empty where there is none.
        values: differences to the defaults.
        source: names the file in errors.

    Raises:
        InputError: the text is not YAML, or the result is not a valid set of parameters, or DVC could not take its
            ``data.root``; the sentence names the key.
    """
    target = _laid(values)
    _check_root(parse(target, source).data.root, source)
    fresh = _tree(target)
    written = _dump(fresh)
    if not text.strip():
        return written, []
    own_comments = not set(_comments(text)) <= set(_comments(written))
    # Only for comments that must stay: this way of reading takes five times as long.
    present = _parse(text, source, round_trip=own_comments)
    if not isinstance(present, Mapping):
        raise InputError(f"{source}: holds no keys; `key: value` lines are expected.")
    changes = list(_changes(present, target))
    if isinstance(present, CommentedMap):
        _merge(present, fresh, target)
        return _dump(present), changes
    return written, changes


def _expanded(root: Any) -> Any:
    """Return a path with its ``~`` expanded; as it is where there is no such home, or it is no text."""
    try:
        return str(Path(root).expanduser()) if isinstance(root, str) and root.startswith("~") else root
    except RuntimeError:
        return root


def params_of(values: Values, source: str) -> Params:
    """Return the parameters with the defaults and ``values``; ``source`` names them in errors.

    Raises:
        InputError: a value is wrong; the sentence names its key.
    """
    return parse(_laid(values), source)


def _laid(values: Values) -> Values:
    target = defaults()
    for key, value in values.items():
        _put(target, key, _expanded(value) if key == "data.root" else value)
    return target


def overlay(values: Values, comments: Mapping[str, str], heading: str) -> str:
    """Return ``values`` as the text of a preset, in the order of ``params.yaml``, each below its comment if any.

    Args:
        values: of known parameters.
        comments: a sentence for some of the keys.
        heading: lines of the opening comment.
    """
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    order, written = list(flatten(defaults(), defaults())), [""]
    for key in sorted(values, key=order.index):
        *owners, last = key.split(".")
        same = [owner == other for owner, other in zip(owners, written, strict=False)]
        shared = same.index(False) if False in same else len(same)
        lines += [""] if shared == 0 else []
        lines += [f"{'  ' * depth}{owners[depth]}:" for depth in range(shared, len(owners))]
        indent, written = "  " * len(owners), owners
        lines += [f"{indent}# {line}" for line in textwrap.wrap(comments.get(key, ""), WIDTH - len(indent) - 2)]
        lines.append(f"{indent}{last}: {_flow(values[key])}")
    return "\n".join(lines) + "\n"


def _check_root(root: str, source: str) -> None:
    """Refuse a ``data.root`` that DVC, which reads it before any stage runs, cannot take as a dependency."""
    said = f"{source}: data.root is {root!r}: "
    if root.startswith("~"):
        raise InputError(f"{said}there is no such home folder; the whole path would be right")
    dataset, index = Path(root).resolve(), Path(INDEX).resolve()
    if index.is_relative_to(dataset) or dataset.is_relative_to(index):
        raise InputError(f"{said}the folder holds or is in {INDEX}, which the run writes; data/mine would be right")


def template() -> str:
    """Return the text of ``params.yaml`` with all default values, as the models give it."""
    return _dump(_tree(defaults()))


def flatten(content: Mapping[str, Any], complete: Mapping[str, Any], path: str = "") -> Values:
    """Return the values in ``content`` by dotted key, as deep as ``complete`` has sections."""
    values: Values = {}
    for name, value in content.items():
        key = f"{path}.{name}" if path else str(name)
        block = complete.get(name)
        if isinstance(block, dict) and isinstance(value, Mapping) and key not in FREE:
            values |= flatten(value, block, key)
        else:
            values[key] = value
    return values


def nested(content: Any, key: str) -> Any:
    """Return what stands at a dotted ``key`` of nested mappings; None where nothing does. The empty key is all."""
    for name in key.split(".") if key else ():
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def _put(content: Values, key: str, value: Any) -> None:
    """Set what stands at a dotted ``key`` of nested mappings; mappings on the way are made where there are none."""
    *path, last = key.split(".")
    for name in path:
        if not isinstance(content.get(name), dict):
            content[name] = {}
        content = content[name]
    content[last] = value


def _checked(values: Values) -> Values:
    known = flatten(defaults(), defaults())
    for key in values:
        if key not in known:
            raise _unknown(key)
    return values


def _unknown(key: str) -> UnknownNameError:
    return UnknownNameError(f"There is no parameter {key!r}; {_near(key, flatten(defaults(), defaults()))}.")


# --- the file -----------------------------------------------------------------------------------------------------


def _tree(values: Mapping[str, Any]) -> CommentedMap:
    """Return ``values`` with the comments of the models, as ruamel.yaml's tree."""
    tree = _section(model(), values, "", {})
    tree.yaml_set_start_comment(HEADING)
    return tree


def _section(
    kind: type[Section], values: Mapping[str, Any], path: str, explained: dict[type[Section], str]
) -> CommentedMap:
    """Return the values of one section; ``explained`` holds the kinds of blocks met so far and the key of the first."""
    tree, depth = CommentedMap(), path.count(".")
    comments: dict[str, list[str]] = {}
    owner = ""  # the key above which comments stand
    for place, (name, value) in enumerate(values.items()):
        field, key = kind.model_fields[name], f"{path}{name}"
        inner, comment = field.annotation, _text(field)
        tree[name] = value
        if isinstance(inner, type) and issubclass(inner, Section):
            first = explained.setdefault(inner, key)
            tree[name] = _section(inner, value, f"{key}.", explained)
            comment = comment or (_summary(inner) if first == key else f"See {first}.")
            if depth and _one_line(inner, value, first == key):
                tree[name].fa.set_flow_style()
                for each, described in inner.model_fields.items():
                    if first == key and described.description:
                        comment += f"\n{each}: {_text(described)}"
        # DVC loses the comment behind a list, so that of the next key stands above the list.
        if not (owner and isinstance(values[list(values)[place - 1]], list)):
            owner = name
            comments[owner] = [comment] if comment else []
        elif comment:
            comments[owner].append(f"{name}: {comment}")
    for number, (name, texts) in enumerate(comments.items()):
        lines = [line for text in texts for line in text.split("\n")]
        text = "\n".join(textwrap.fill(line, WIDTH - 2 * depth, break_on_hyphens=False) for line in lines)
        gap = "\n" if not depth and (isinstance(values[name], dict) or not number) else ""
        if gap or text:
            tree.yaml_set_comment_before_after_key(name, before=f"{gap}{text}", indent=2 * depth)
    return tree


def _text(field: FieldInfo) -> str:
    """Return a parameter's meaning as one line; its docstring breaks where the source file ends a line."""
    return " ".join((field.description or "").split())


def _one_line(kind: type[Section], values: Mapping[str, Any], first: bool) -> bool:
    """Say whether a block is one flow mapping: it needs no explanation, or ends in a list, whose comments DVC loses."""
    plain = not any(field.description for field in kind.model_fields.values())
    return plain or not first or isinstance(list(values.values())[-1], list)


def _changes(present: Mapping[str, Any], target: Mapping[str, Any], path: str = "") -> Iterator[Change]:
    """Yield where ``target`` differs from ``present``; a section that only one of them has is one change."""
    yield from (Change(f"{path}{name}", value, None) for name, value in present.items() if name not in target)
    for name, value in target.items():
        key = f"{path}{name}"
        if name not in present:
            yield Change(key, None, value)
        elif _both_sections(present[name], value, key):
            yield from _changes(present[name], value, f"{key}.")
        elif present[name] != value:
            yield Change(key, present[name], value)


def _merge(present: CommentedMap, fresh: CommentedMap, target: Mapping[str, Any], path: str = "") -> None:
    """Give ``present`` the keys and values of ``fresh``, the tree of ``target``; equal values are left untouched."""
    for name in [name for name in present if name not in target]:
        del present[name]
    for place, (name, value) in enumerate(target.items()):
        key = f"{path}{name}"
        if name not in present:
            present.insert(place, name, fresh[name])
            if name in fresh.ca.items:
                present.ca.items[name] = fresh.ca.items[name]
        elif _both_sections(present[name], value, key):
            _merge(present[name], fresh[name], value, f"{key}.")
        elif present[name] != value:
            present[name] = value


def _both_sections(present: Any, target: Any, key: str) -> bool:
    return isinstance(present, Mapping) and isinstance(target, dict) and key not in FREE


def _comments(text: str) -> list[str]:
    """Return the text behind each ``#``; a value that holds one counts too, which does no harm."""
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


def _dump(tree: CommentedMap) -> str:
    yaml: Any = YAML()
    yaml.default_flow_style = False  # as DVC's own writer
    stream = io.StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def _parse(text: str, source: str, *, round_trip: bool = False) -> Any:
    try:
        return (YAML() if round_trip else YAML(typ="safe")).load(text)
    except YAMLError as error:
        raise InputError(f"{source}: not readable as YAML: {' '.join(str(error).split())}") from error


def _flow(value: Any) -> str:
    """Return ``value`` as YAML on one line."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = True, 1_000_000, False
    stream = io.StringIO()
    yaml.dump({"x": json.loads(json.dumps(value))}, stream)  # plain lists for ruamel.yaml's
    return stream.getvalue().strip().removeprefix("{x: ").removesuffix("}")


def _summary(kind: type[Section]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _near(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = [other for other in known if other.endswith(f".{name}")]
    near += [other for other in difflib.get_close_matches(name, known, cutoff=0.5) if other not in near]
    tops = dict.fromkeys(key.partition(".")[0] for key in known)
    return f"near it: {', '.join(near)}" if near else f"known: {', '.join(tops)}"


def _first_comment(file: Path) -> str:
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
