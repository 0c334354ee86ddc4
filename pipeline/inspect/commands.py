"""``boxline inspect``: the views of what was cached. Their commands stand in the two modules imported here."""

import typer

from pipeline.inspect import cache_commands, picture_commands

app = typer.Typer(
    no_args_is_help=True,
    help="Look into the cached features.\n\n"
    "Text is printed; --png FILE writes a picture, --html FILE a page with both.",
)
cache_commands.register(app)
picture_commands.register(app)
