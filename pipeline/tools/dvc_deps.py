"""Prove that ``dvc.yaml`` lists the code and the parameters that each stage depends on, or mend it.

    python -m pipeline.tools.dvc_deps --check
    python -m pipeline.tools.dvc_deps --write

Code: the stage's script (``stages/x.py`` for ``python -m stages.x``) and what it imports, directly or through others.
A file directly in ``pipeline/`` is listed as that file, anything deeper as its room (``pipeline/data``), and in rooms
whose files belong to separate systems (`SEPARATE`) as that file again, so that an edited detector re-runs that
detector alone. Code stands first, sorted; data follow in their own order.

``pipeline/params`` is the one room that no stage lists. Every script imports it, so a key added for one system
would re-run all of them, and it decides nothing by itself: the values that a stage reads are its ``params``.

Parameters: the keys that the script reads (see `params_read`), sorted, none beside its parent.

Loops (``foreach``, ``matrix``) are written out first, and an entry such as ``pipeline/detectors/${key}.py`` must be
right for every turn of the loop. Shared code is the exception: what one turn imports of it, all turns list.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.core import runtime
from pipeline.core.code import PACKAGES, closure
from pipeline.core.errors import InputError
from pipeline.core.storage import atomic
from pipeline.tools.loop_entries import Need, faults, mend
from pipeline.tools.params_read import keys_read
from pipeline.tools.stage_graph import Stage, read_stages
from pipeline.tools.yaml_list import entries, replacement

# Rooms whose files belong to one system each, or to some of them.
SEPARATE = ("pipeline/detectors", "pipeline/features")
OF_ONE_SYSTEM = "pipeline/detectors"
UNLISTED = "pipeline/params"


@dataclass(frozen=True)
class Listing:
    """One of a stage's two lists as it stands: the entries judged here, the others, and what the script needs."""

    key: str
    ours: list[str]
    others: list[str]
    in_order: bool
    needs: list[Need]

    def common(self, entry: str) -> bool:
        """Say whether ``entry`` may stand there for the sake of some turns of a loop only: code that systems share."""
        return entry.startswith("pipeline/") and not PurePosixPath(entry).is_relative_to(OF_ONE_SYSTEM)


def check(file: Path) -> list[str]:
    """Return one sentence for each fault of ``file``, a ``dvc.yaml`` in the project's folder.

    Raises:
        InputError: the file cannot be read, a script is missing or hides what it reads.
    """
    text = file.read_text(encoding="utf-8")
    found = []
    for stage in read_stages(text, str(file)):
        if not _runs_scripts(stage):
            found.append(f"{stage.name}: its cmd runs no script; `python -m stages.NAME` is expected.")
            continue
        for listing in _listings(text, stage, file):
            wrong = [
                f"{stage.name}: {listing.key} {fault}." for fault in faults(listing.ours, listing.needs, listing.common)
            ]
            if not wrong and not listing.in_order:
                wrong = [f"{stage.name}: {listing.key} stand out of order; code first, sorted, each once."]
            found += wrong
    return found


def write(file: Path) -> None:
    """Mend the lists of ``file``; comments and all else stay as they are.

    Raises:
        InputError: as for `check`, or no list fits all turns of a loop.
    """
    text = file.read_text(encoding="utf-8").removesuffix("\n") + "\n"
    edits = []
    for stage in filter(_runs_scripts, read_stages(text, str(file))):
        for listing in _listings(text, stage, file):
            source = f"{file}, stage {stage.name}: {listing.key}"
            mended = mend(listing.ours, listing.needs, listing.common, source)
            if mended != listing.ours or not listing.in_order:
                edits.append(replacement(text, stage.node, listing.key, mended + listing.others))
    for start, end, lines in sorted(edits, key=lambda edit: edit[0], reverse=True):
        text = text[:start] + lines + text[end:]
    with atomic(file) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def code_deps(script: Path, root: Path) -> set[str]:
    """Return the ``deps`` that ``script`` needs for its code."""
    files = (PurePosixPath(file.relative_to(root.resolve()).as_posix()) for file in closure(script, root))
    return {_room(file) for file in files} - {UNLISTED}


def _room(file: PurePosixPath) -> str:
    """Return the entry that stands for ``file``: itself, or the folder that it belongs to."""
    depth = 3 if any(file.is_relative_to(room) for room in SEPARATE) else 2
    return "/".join(file.parts[:depth])


def _listings(text: str, stage: Stage, file: Path) -> Iterator[Listing]:
    """Yield ``params``, then ``deps``: of two lists that are put in at one place, the last put in comes first."""
    yield _listing(text, stage, "params", lambda entry: ":" not in entry, _needs(stage, file, keys_read))
    needs = _needs(stage, file, lambda script: code_deps(script, file.parent))
    yield _listing(text, stage, "deps", lambda entry: PurePosixPath(entry).parts[0] in PACKAGES, needs)


def _listing(text: str, stage: Stage, key: str, judged: Callable[[str], bool], needs: list[Need]) -> Listing:
    present = entries(text, stage.node, key)
    ours, others = [entry for entry in present if judged(entry)], [entry for entry in present if not judged(entry)]
    return Listing(key, ours, others, present == sorted(set(ours)) + others, needs)


def _needs(stage: Stage, file: Path, needed_by: Callable[[Path], set[str]]) -> list[Need]:
    needs = []
    for instance in stage.instances:
        scripts = [file.parent / script for script in stage.scripts(instance)]
        for script in scripts:
            if not script.is_file():
                raise InputError(f"{file}, stage {stage.name}: its script {script} does not exist.")
        needs.append(Need(instance, frozenset().union(*map(needed_by, scripts))))
    return needs


def _runs_scripts(stage: Stage) -> bool:
    return all(stage.scripts(instance) for instance in stage.instances)


def main() -> None:
    """Check or mend the ``dvc.yaml`` of the current folder."""
    parser = argparse.ArgumentParser(description="Check or mend the code and parameters that dvc.yaml lists.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="print each fault; exit code 1 if there is one")
    action.add_argument("--write", action="store_true", help="mend dvc.yaml in place, then check it")
    arguments = parser.parse_args()
    file = Path("dvc.yaml")
    if not file.is_file():
        raise InputError(f"{file}: the file does not exist; run this in the project's folder.")
    if arguments.write:
        write(file)
    found = check(file)
    if found:
        hint = f"{file} does not match the code; `python -m pipeline.tools.dvc_deps --write` mends it."
        raise InputError("\n  ".join([hint, *found]))


if __name__ == "__main__":
    runtime.run(main)
