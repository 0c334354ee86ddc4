"""Code as a dependency by its meaning: which files a stage's script runs, each with a hash of what it says to Python.

The stage ``code`` writes one small text file for each stage; the others depend on theirs. A changed comment, docstring
or line break changes no hash. Only the project's own packages are followed, without importing them. Imports inside
functions count, those below ``if TYPE_CHECKING:`` do not; an ``__init__.py`` without code counts for nothing. Files
that hold parameters are left out: a stage lists the values that it reads.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

PACKAGES = ("pipeline", "stages")
PARAMETERS = ("params.py", "sections.py")
ROOMS, REGISTRY = Path("pipeline/systems"), Path("pipeline/registry.py")
OF_A_SYSTEM = ("detect", "timing")
"""Shared scripts that take a system's name and run its detector."""


def stage_names(root: Path) -> list[str]:
    """Return the stages with code in the project at ``root``: ``evaluate``, ``rcnn/svm``, ``rcnn/timing``.

    Scripts in `OF_A_SYSTEM` are a stage of each system.
    """
    rooms = sorted(file.parent.name for file in (root / ROOMS).glob("*/system.py"))
    names = []
    for script in sorted((root / "stages").rglob("*.py")):
        name = script.relative_to(root / "stages").with_suffix("").as_posix()
        if script.name not in ("__init__.py", "code.py"):
            names += [f"{room}/{name}" for room in rooms] if name in OF_A_SYSTEM else [name]
    return names


def code_file(name: str, root: Path) -> str:
    """Return the text for the stage ``name``: a line for each file that its script runs, its hash and its path.

    A script in `OF_A_SYSTEM` runs the detector of its system. A script that asks all systems depends on what their
    ``system.py`` say, not on their detectors.

    Raises:
        FileNotFoundError: there is no such script.
        SyntaxError: one of the files is not Python.
    """
    room, _, script = name.rpartition("/")
    if script in OF_A_SYSTEM:
        system = root / ROOMS / room / "system.py"
        files = {*closure(root / f"stages/{script}.py", root), system, *closure(system.with_name("detector.py"), root)}
    else:
        files = {*closure(root / f"stages/{name}.py", root)}
        if (root / REGISTRY).resolve() in files:
            files |= {*(root / ROOMS).glob("*/system.py")}
    return _lines(files, root)


def closure(script: Path, root: Path) -> list[Path]:
    """Return ``script`` and all project files that it imports, directly or through others: sorted, below ``root``.

    Raises:
        FileNotFoundError: there is no such script.
        SyntaxError: one of the files is not Python.
    """
    reached: set[Path] = set()
    pending = [script.resolve()]
    root = root.resolve()
    while pending:
        file = pending.pop()
        if file not in reached:
            reached.add(file)
            pending.extend(_imported_files(file, root))
    return sorted(reached)


def meaning(file: Path) -> str:
    """Return a 12-digit hash of a file's statements, docstrings and other bare strings left out.

    Raises:
        SyntaxError: the file is not Python.
    """
    return _meaning(file.read_bytes(), str(file))


@lru_cache(maxsize=1024)
def _meaning(source: bytes, name: str) -> str:
    tree = ast.parse(source, name)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [each for each in statements if not _is_text(each)])
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:12]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _lines(files: set[Path], root: Path) -> str:
    paths = {file.resolve().relative_to(root.resolve()).as_posix(): file.resolve() for file in files}
    return "".join(f"{meaning(file)}  {path}\n" for path, file in sorted(paths.items()))


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
    elif module.is_file() and module.name not in PARAMETERS:
        yield module


def _has_code(file: Path) -> bool:
    body = ast.parse(file.read_bytes(), str(file)).body
    return any(not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant) for node in body)
