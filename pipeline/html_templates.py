"""How this project's pages are made from jinja2 templates, and how photographs get into them."""

import base64
import io
from pathlib import Path

import jinja2
from PIL import Image

from pipeline.data.images import read_image

JPEG_QUALITY = 82


def environment(folder: Path) -> jinja2.Environment:
    """Return an environment for the templates in ``folder``: values are escaped, and an unknown name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def jpeg_uri(path: Path, longest: int) -> str:
    """Return an image file as a JPEG data URI, its longer side reduced to ``longest`` pixels.

    Raises:
        UnreadableImageError: the image is missing or broken.
    """
    image = Image.fromarray(read_image(path))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
