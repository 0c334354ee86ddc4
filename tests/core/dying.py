"""Workers that die, hang or stop at tasks of a test's choice; imported by the workers, so light."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

RENAME = Path.replace


class Dying(Executor):
    """Passes tasks on and counts their calls in files of ``log``, one a task; the first call of some goes wrong.

    ``ends`` says by a task's number how: ``before`` it begins, ``writing``, in place of the first rename, and
    ``after`` its mark, by SIGKILL; it may ``hang``, or ``stop``, by SIGSTOP, in place of the first rename.
    """

    def __init__(self, executor: Executor, log: Path, ends: Mapping[int, str]) -> None:
        self._executor, self._log, self._ends, self._tasks = executor, log, ends, 0
        log.mkdir()

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        self._tasks += 1
        number = self._tasks - 1
        return self._executor.submit(call, self._log, number, self._ends.get(number, ""), function, *args)

    def calls(self) -> list[int]:
        """Return how often each task was begun."""
        return [len((self._log / str(number)).read_bytes()) for number in range(self._tasks)]


def call(log: Path, number: int, end: str, function: Callable[..., Any], *args: Any) -> Any:
    first = not (log / str(number)).exists()
    with (log / str(number)).open("ab") as calls:
        calls.write(b"x")
    if not first or not end:
        return function(*args)
    if end == "hang":
        time.sleep(600)
    if end == "before":
        die()
    if end in ("writing", "stop"):
        fail = die if end == "writing" else lambda: stop(log)
        Path.replace = lambda source, target: fail_at(fail, source, target)  # type: ignore[assignment, method-assign]
    try:
        return function(*args)
    finally:
        if end == "after":
            die()
        (log / "woken").touch()


def fail_at(fail: Callable[[], None], source: Path, target: Path) -> Path:
    """Rename; where ``source`` is a file that was just written whole, fail before."""
    if source.suffix == ".partial":
        fail()
    return RENAME(source, target)


def die() -> None:
    time.sleep(1)  # Dask starts no other worker for one that dies while it is starting
    os.kill(os.getpid(), signal.SIGKILL)


def stop(log: Path) -> None:
    Path.replace = RENAME  # type: ignore[method-assign]
    (log / "stopped").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
