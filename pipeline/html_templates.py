"""How this project's pages are made from jinja2 templates."""

from pathlib import Path

import jinja2


def environment(folder: Path) -> jinja2.Environment:
    """Return an environment for the templates in ``folder``: values are escaped, and an unknown name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
