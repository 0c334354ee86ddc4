"""``boxline inspect``: the views of what was cached, a room for each in `pipeline.inspect.views`."""

import typer

from pipeline.inspect.views.diff.command import diff
from pipeline.inspect.views.export.command import export
from pipeline.inspect.views.image.command import image
from pipeline.inspect.views.neighbours.command import neighbours
from pipeline.inspect.views.project.command import project
from pipeline.inspect.views.summary.command import summary
from pipeline.inspect.views.units.command import units

app = typer.Typer(
    no_args_is_help=True,
    help="Look into the cached features.\n\n"
    "Text is printed; --png FILE writes a picture, --html FILE a page with both.",
)
for command in (summary, units, diff, export, image, neighbours, project):
    app.command()(command)
