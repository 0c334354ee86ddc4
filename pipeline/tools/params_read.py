"""Which parameters a stage script reads, from its syntax tree: ``p = params.load()`` and chains such as ``p.rcnn.svm``.

The script must take its parameters apart itself; handing ``p`` on whole would hide what a stage depends on.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.params import Section
from pipeline.parameter_keys import members
from pipeline.params import Params

UNTRACKED = ("runtime", "data.root")
"""Read by stages and listed by none: where things run, and a place whose contents are a dependency themselves."""


def keys_read(script: Path) -> set[str]:
    """Return the tracked keys that ``script`` reads; none stands beside its parent.

    Raises:
        InputError: the parameters are handed on whole, or a chain names no parameter.
    """
    tree = ast.parse(script.read_bytes(), str(script))
    keys = {_key(chain, script, line) for chain, line in _chains(tree, script)}
    return without_children(key for key in keys if not _below(key, UNTRACKED))


def without_children(keys: Iterable[str]) -> set[str]:
    """Return ``keys`` without those whose parent is among them."""
    keys = set(keys)
    return {key for key in keys if not _below(key, keys - {key})}


def _below(key: str, parents: Iterable[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _chains(tree: ast.Module, script: Path) -> Iterator[tuple[list[str], int]]:
    """Yield the attributes read from the parameters, and the line; giving them a name reads nothing yet."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    loads = [node for node in ast.walk(tree) if _is_load(node)]
    names = {_name_given(parents[load]) for load in loads} - {None}
    for node in ast.walk(tree):
        is_use = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names
        if not is_use and (not _is_load(node) or _name_given(parents[node])):
            continue
        chain, outer = [], parents[node]
        while isinstance(outer, ast.Attribute):
            chain.append(outer.attr)
            outer = parents[outer]
        line = getattr(node, "lineno", 0)
        if not chain:
            raise InputError(f"{script}, line {line}: hands all parameters on; pass on the sections that are needed.")
        yield chain, line


def _name_given(node: ast.AST) -> str | None:
    """Return the name in ``name = value`` or ``name: Type = value``."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None


def _is_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("params.load", "pipeline.params.load")


def _key(chain: list[str], script: Path, line: int) -> str:
    """Return the part of ``chain`` that names a section or a value; what follows is an attribute of that."""
    section: type[Section] | None = Params
    key: list[str] = []
    for name in chain:
        if section is None or name not in members(section):
            break
        key.append(name)
        section = members(section)[name]
    rest = chain[len(key) :]
    if not key or (rest and section is not None and not hasattr(section, rest[0])):
        raise InputError(f"{script}, line {line}: {'.'.join(chain)} is no parameter.")
    return ".".join(key)
