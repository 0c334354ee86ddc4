"""The commands that look at one image at a time."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
