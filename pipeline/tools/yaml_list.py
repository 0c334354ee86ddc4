"""Rewrite one list of a mapping in YAML text; each entry keeps its comments."""

from collections.abc import Iterator, Sequence

from pipeline import yaml_text
from pipeline.yaml_text import MappingNode, Node, ScalarNode, SequenceNode

Edit = tuple[int, int, str]
"""Characters ``[start, end)`` of a text and what takes their place."""


def entries(text: str, owner: MappingNode, key: str) -> list[str]:
    """Return the entries of the list at ``key``, those that are no scalars as YAML; no list is an empty one."""
    node = yaml_text.child(owner, key)
    return [_name(text, item) for item in node.value] if isinstance(node, SequenceNode) else []


def replacement(text: str, owner: MappingNode, key: str, wanted: Sequence[str]) -> Edit:
    """Return the edit that makes the list at ``key`` hold ``wanted``, names as `entries` gives them.

    Entries that stay keep the comments above and beside them. A list that does not exist yet is put below
    ``deps``, or ``cmd``.
    """
    node = yaml_text.child(owner, key)
    indent = " " * owner.start_mark.column
    if isinstance(node, SequenceNode) and not node.flow_style and wanted:
        chunks = list(_chunks(text, node))
        written = dict(chunks)
        start = _line_start(text, node.start_mark.index) - len(_comments_above(text, node))
        end = start + sum(len(lines) for _, lines in chunks)
        return start, end, "".join(written.get(entry, f"{indent}  - {entry}\n") for entry in wanted)
    lines = f"{indent}{key}:\n" + "".join(f"{indent}  - {entry}\n" for entry in wanted) if wanted else ""
    if node is None:
        below = yaml_text.child(owner, "deps") or yaml_text.child(owner, "cmd")
        start = end = _line_end(text, yaml_text.span(text, below)[1]) if below is not None else len(text)
        return start, end, lines
    keys = next(name for name, _ in owner.value if name.value == key)
    return _line_start(text, keys.start_mark.index), _line_end(text, yaml_text.span(text, node)[1]), lines


def _chunks(text: str, node: SequenceNode) -> Iterator[tuple[str, str]]:
    """Yield each entry's name and its lines: the comments above it, and itself."""
    start = _line_start(text, node.start_mark.index) - len(_comments_above(text, node))
    for item in node.value:
        end = _line_end(text, yaml_text.span(text, item)[1])
        yield _name(text, item), text[start:end]
        start = end


def _comments_above(text: str, node: Node) -> str:
    """Return the comment lines between a list's key and its first entry."""
    lines = text[: _line_start(text, node.start_mark.index)].splitlines(keepends=True)
    above = []
    while lines and lines[-1].lstrip().startswith("#"):
        above.append(lines.pop())
    return "".join(reversed(above))


def _name(text: str, item: Node) -> str:
    return item.value if isinstance(item, ScalarNode) else yaml_text.one_line(text, item)


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def _line_end(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return newline + 1 if newline >= 0 else len(text)
