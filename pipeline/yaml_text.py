"""Edit YAML as text: a replaced value changes its own characters and no others, so comments and layout stay.

A round trip through a YAML writer would settle quotes, indentation and line breaks its own way; this does not.
"""

from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML, MappingNode, Node, ScalarNode, SequenceNode, YAMLError

from pipeline.core.errors import InputError

KeyPath = tuple[str, ...]
"""The keys from the top of a document down to a value."""


def parse(text: str, source: str) -> Any:
    """Return the value of ``text``, mappings as dicts; ``source`` names it in errors.

    Raises:
        InputError: the text is not YAML, or a key stands twice.
    """
    try:
        return _reader().load(text)
    except YAMLError as error:
        raise InputError(f"{source}: not readable as YAML: {' '.join(str(error).split())}") from error


def compose(text: str, source: str) -> MappingNode:
    """Return the syntax tree of ``text``, a mapping at its top; its marks count characters of ``text``.

    Raises:
        InputError: the text is not YAML or holds no mapping.
    """
    parse(text, source)
    node = _reader().compose(text)
    if not isinstance(node, MappingNode):
        raise InputError(f"{source}: holds no keys; `key: value` lines are expected.")
    return node


def child(node: Node, key: str) -> Node | None:
    """Return the value of ``key`` in a mapping; None where it is absent or ``node`` is no mapping."""
    if isinstance(node, MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value
    return None


def find(node: Node, path: KeyPath) -> Node | None:
    """Return the value at ``path`` below ``node``, or None."""
    found: Node | None = node
    for key in path:
        found = child(found, key) if found is not None else None
    return found


def span(text: str, node: Node) -> tuple[int, int]:
    """Return the characters of a value, ``[start, end)``, without the comments and blank lines that follow it."""
    last = node
    while isinstance(last, MappingNode | SequenceNode) and not last.flow_style and last.value:
        last = last.value[-1][1] if isinstance(last, MappingNode) else last.value[-1]
    start, end = node.start_mark.index, last.end_mark.index
    return start, start + len(text[start:end].rstrip())


def one_line(text: str, node: Node) -> str:
    """Return how a scalar or flow collection is written; a value in block layout becomes one flow line."""
    start, end = span(text, node)
    in_blocks = node.style in ("|", ">") if isinstance(node, ScalarNode) else not getattr(node, "flow_style", True)
    if not in_blocks:
        return text[start:end]
    indent = "x: " if isinstance(node, ScalarNode) else " " * node.start_mark.column
    value = parse(f"{indent}{text[start:end]}\n", "value")
    return write_flow(value["x"] if isinstance(node, ScalarNode) else value)


def replace(text: str, values: Mapping[KeyPath, str], source: str) -> str:
    """Put each of ``values``, scalars or flow collections as YAML text, in the place of the value at its path.

    Raises:
        InputError: ``text`` is not YAML or has no such key.
    """
    tree, edits = compose(text, source), []
    for path, value in values.items():
        owner = find(tree, path[:-1])
        pairs = owner.value if isinstance(owner, MappingNode) else []
        match = next(((key, old) for key, old in pairs if key.value == path[-1]), None)
        if match is None:
            raise InputError(f"{source}: {'.'.join(path)} is missing.")
        key_end = match[0].end_mark.index
        start, end = span(text, match[1])
        edits.append((key_end, end if end > start else key_end + 1, value))  # an absent value is marked further down
    for start, end, value in sorted(edits, reverse=True):
        text = f"{text[:start]}: {value}{text[end:]}"
    return text


def write_flow(value: Any) -> str:
    """Return ``value`` as YAML on one line, fit to stand inside a flow collection."""
    writer: Any = _reader()
    writer.default_flow_style, writer.width, writer.sort_base_mapping_type_on_output = True, 1_000_000, False
    stream = StringIO()
    writer.dump({"x": value}, stream)  # in a list, a mapping of one key would lose its braces
    return stream.getvalue().strip().removeprefix("{x: ").removesuffix("}")


def _reader() -> YAML:
    return YAML(typ="safe", pure=True)
