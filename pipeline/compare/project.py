"""Revisions of a project through DVC's Python API: commits, branches, tags, experiments and the workspace.

Files are read from the revision's tree, of the workspace from its folder. What is not there, because DVC tracks it, is
found in DVC's cache by the hash in that revision's ``dvc.lock``; DVC's own file system would do the same after it has
built the whole graph, which takes ten times as long. Nothing is checked out, written or downloaded, and no lock is
taken: a pipeline may run meanwhile.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.dvcfile import load_file
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from dvc.repo.experiments.utils import exp_refs_by_baseline
from dvc.scm import NoSCM, RevError

from pipeline.compare.paired import Read
from pipeline.compare.revision import Layout, LockedStage, Revision, parse_curves, parse_lock, parse_mapping
from pipeline.core.errors import InputError

WORKSPACE = "workspace"


def default_names() -> list[str]:
    """Return HEAD, the workspace, and the experiments on top of HEAD, oldest first.

    Raises:
        InputError: the current folder is in no DVC project.
    """
    with _project() as repo:
        if isinstance(repo.scm, NoSCM) or repo.scm.no_commits:
            return [WORKSPACE]
        head = repo.scm.get_rev()
        found = exp_refs_by_baseline(repo.scm, {head})[head]
        made = {info.name: repo.scm.resolve_commit(repo.scm.get_ref(str(info))).commit_time for info in found}
        return ["HEAD", WORKSPACE, *sorted(made, key=lambda name: (made[name], name))]


def read_revisions(names: Iterable[str], layout: Layout, systems: Sequence[str]) -> list[Revision]:
    """Return the revisions of the project around the current folder, each name once, in their order.

    One that cannot be read has a `Revision.problem`.

    Raises:
        InputError: the current folder is in no DVC project.
    """
    with _project() as repo:
        return [_read(repo, name, layout, systems) for name in dict.fromkeys(names)]


@contextmanager
def reader() -> Iterator[Read]:
    """Give what `Paired` reads with: files by their MD5, from DVC's cache or, where Git tracks them, from the revision.

    Those from Git are copies that are gone at the end.

    Raises:
        InputError: the current folder is in no DVC project.
    """
    with _project() as repo, TemporaryDirectory() as folder:

        def read(revision: Revision, path: str, md5: str) -> Path | None:
            cached = Path(repo.cache.repo.oid_to_path(md5))
            if cached.is_file():
                return cached
            with repo.switch(revision.commit or WORKSPACE):
                content = _tracked(repo, path)
            if content is None or hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                return None
            copy = Path(folder) / md5
            copy.write_bytes(content)
            return copy

        yield read


def _project() -> Repo:
    try:
        return Repo()
    except NotDvcRepoError as error:
        raise InputError("this folder is in no DVC project; run the command in the project's folder.") from error


def _read(repo: Repo, name: str, layout: Layout, systems: Sequence[str]) -> Revision:
    commit = ""
    try:
        with repo.switch(name) as resolved:
            commit = "" if name == WORKSPACE else resolved
            if not repo.fs.isdir(repo.dvc_dir):
                raise NotDvcRepoError(name)
            return Revision(name, commit, **_content(repo, layout, systems))
    except RevError:
        problem = "Unknown revision: no commit, branch, tag or experiment has this name."
    except NotDvcRepoError:
        problem = "At this commit there was no DVC project in this folder."
    except (InputError, DvcException, OSError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
    return Revision(name, commit, problem=problem)


def _content(repo: Repo, layout: Layout, systems: Sequence[str]) -> dict[str, Any]:
    stages = _stages(repo, layout)
    files = _Files(repo, stages)
    return {
        "parameters": files.mapping(layout.params) or {},
        "metrics": files.mappings({system: layout.metrics.format(system) for system in systems}),
        "timing": files.mappings({system: layout.timing.format(system) for system in systems}),
        "costs": files.mappings(
            {
                name: path
                for name, stage in stages.items()
                for path in stage.outputs
                if path.startswith(f"{layout.costs}/") and path.endswith(".json")
            }
        ),
        "curves": {
            system: parse_curves(text, path)
            for system in systems
            if (text := files.text(path := layout.curves.format(system))) is not None
        },
        "stages": stages,
    }


def _stages(repo: Repo, layout: Layout) -> dict[str, LockedStage]:
    """Return the lock's entries of those stages that the graph has; DVC keeps those of renamed ones forever."""
    lock = _text(_tracked(repo, layout.lock))
    if lock is None or _tracked(repo, layout.pipeline) is None:
        return {}
    locked = parse_lock(lock, layout.lock)
    graph = load_file(repo, repo.fs.join(repo.root_dir, layout.pipeline))
    return {name: locked[name] for name in graph.resolver.get_keys() if name in locked}


class _Files:
    """The files of one revision, tracked by DVC or by Git."""

    def __init__(self, repo: Repo, stages: dict[str, LockedStage]) -> None:
        self._repo = repo
        self._hashes = {path: output.hash for stage in stages.values() for path, output in stage.outputs.items()}

    def text(self, path: str) -> str | None:
        """Return the content; None where the revision has no such file or the cache has lost it."""
        tracked = _tracked(self._repo, path)
        known = self._hashes.get(path)
        return _text(_cached(self._repo, known) if tracked is None and known else tracked)

    def mapping(self, path: str) -> dict[str, Any] | None:
        """Return the mapping in a JSON or YAML file, None as for `text`."""
        text = self.text(path)
        return None if text is None else parse_mapping(text, path)

    def mappings(self, paths: dict[str, str]) -> dict[str, dict[str, Any]]:
        """Return the mappings of those files that exist, under the same names."""
        return {name: content for name, path in paths.items() if (content := self.mapping(path)) is not None}


def _tracked(repo: Repo, path: str) -> bytes | None:
    return _content_at(repo.fs, repo.fs.join(repo.root_dir, *path.split("/")))


def _cached(repo: Repo, md5: str) -> bytes | None:
    return _content_at(repo.cache.repo.fs, repo.cache.repo.oid_to_path(md5))


def _content_at(fs: Any, place: str) -> bytes | None:
    if not fs.isfile(place):
        return None
    with fs.open(place, "rb") as stream:
        return stream.read()


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8").replace("\r\n", "\n")
