"""Colours as ``#rrggbb``: one for each class, and ink that is legible on it."""

import colorsys

_GOLDEN_RATIO = 0.618034


def class_colour(label: int) -> str:
    """Return the colour of a class by its category id, for any number of classes.

    Neighbouring ids get distant hues; dark hues such as blue are lifted until they stand out on a dark photograph.
    """
    hue = (0.03 + (label - 1) * _GOLDEN_RATIO) % 1
    lightness = (0.55, 0.66, 0.47)[(label - 1) % 3]
    while _luminance(colour := _hex(colorsys.hls_to_rgb(hue, lightness, 0.85))) < 0.2:
        lightness += 0.03
    return colour


def ink_on(colour: str) -> str:
    """Return black or white, whichever has more contrast on ``colour``."""
    return "#000000" if _luminance(colour) > 0.179 else "#ffffff"


def _luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2, 0 to 1."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(parts: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
