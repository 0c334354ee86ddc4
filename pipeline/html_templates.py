"""How this project's pages are made from jinja2 templates, and how photographs get into them."""

import base64
import io
from functools import cache
from pathlib import Path

import jinja2
from PIL import Image

from pipeline.data.images import read_image


@cache
def environment(folder: Path) -> jinja2.Environment:
    """Return an environment for the templates in ``folder``: values are escaped, and an unknown name is an error.

    There is one for each folder, which compiles a template once.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def photo(path: Path, side: int, quality: int) -> str:
    """Return an image file as WebP in base64, reduced to ``side`` pixels where it is longer.

    Raises:
        UnreadableImageError: it is missing or broken.
    """
    image = Image.fromarray(read_image(path))
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
