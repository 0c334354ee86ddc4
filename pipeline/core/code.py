"""Which files of this project a script runs: its static import closure, read from the syntax tree without importing.

Only the project's own packages are followed. Imports inside functions count, those below ``if TYPE_CHECKING:`` do
not; an ``__init__.py`` without code counts for nothing. Names put together at run time are invisible here, so stage
scripts import by name.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

PACKAGES = ("pipeline", "stages")


def closure(script: Path, root: Path) -> list[Path]:
    """Return ``script`` and all project files that it imports, directly or through others: sorted, below ``root``.

    Raises:
        FileNotFoundError: there is no such script.
        SyntaxError: one of the files is not Python.
    """
    found: set[Path] = set()
    pending = [script.resolve()]
    root = root.resolve()
    while pending:
        file = pending.pop()
        if file in found:
            continue
        found.add(file)
        pending.extend(_imported_files(file, root))
    return sorted(found)


def code_fingerprint(script: Path, root: Path | None = None) -> str:
    """Return a 16-digit hash of the names and contents of all files in the script's `closure`.

    Without ``root`` the script is taken to stand in a folder of the project, such as ``stages/``.
    """
    root = root or script.resolve().parent.parent
    digest = hashlib.sha256()
    for file in closure(script, root):
        name = file.relative_to(root.resolve()).as_posix()
        digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _imported_files(file: Path, root: Path) -> Iterator[Path]:
    for module in _imported_names(file.read_bytes(), file.relative_to(root).parent.parts):
        parts = module.split(".")
        if parts[0] in PACKAGES:
            for end in range(1, len(parts) + 1):  # importing a.b.c runs a and a.b too
                yield from _module_file(root.joinpath(*parts[:end]))


@lru_cache(maxsize=1024)
def _imported_names(source: bytes, package: tuple[str, ...]) -> tuple[str, ...]:
    """Return dotted names that may be modules; for ``from a import b`` both ``a`` and ``a.b``."""
    names: list[str] = []
    for node in _run_time_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes below ``node`` but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from _run_time_nodes(other)
        else:
            yield child
            yield from _run_time_nodes(child)


def _module_file(stem: Path) -> Iterator[Path]:
    module, package = stem.with_suffix(".py"), stem / "__init__.py"
    if package.is_file():
        if _has_code(package):
            yield package
    elif module.is_file():
        yield module


def _has_code(file: Path) -> bool:
    body = ast.parse(file.read_bytes(), str(file)).body
    return any(not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant) for node in body)
