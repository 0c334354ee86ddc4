"""From exceptions to exit codes: 1 the work failed, 2 wrong use; in both cases one sentence and no traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Print an `InputError` of the block and leave with 1, or with 2 where a name was asked for that does not exist."""
    from pipeline.core.errors import InputError
    from pipeline.presets import UnknownNameError

    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, UnknownNameError) else 1) from None
