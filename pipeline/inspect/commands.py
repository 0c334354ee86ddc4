"""``boxline inspect``: one command for each view, from the module of the view."""

import typer

from pipeline.inspect.batch import batch
from pipeline.inspect.diff import diff
from pipeline.inspect.embedding import embedding
from pipeline.inspect.export import export
from pipeline.inspect.image import image
from pipeline.inspect.neighbours import neighbours
from pipeline.inspect.occlusion import occlusion
from pipeline.inspect.summary import summary
from pipeline.inspect.units import units
from pipeline.options import CommandOfSystems, errors_as_sentences

app = typer.Typer(rich_markup_mode=None)
for command in (summary, units, image, neighbours, embedding, diff, export, batch, occlusion):
    app.command(cls=CommandOfSystems)(errors_as_sentences()(command))
