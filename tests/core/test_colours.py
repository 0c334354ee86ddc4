import colorsys
import itertools

from pipeline.core.colours import class_colour, ink_on


def hue(colour):
    return colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0]


def test_class_colours_differ():
    colours = [class_colour(label) for label in range(1, 81)]
    assert len(set(colours)) == 80
    for first, second in itertools.pairwise(colours):
        distance = abs(hue(first) - hue(second))
        assert min(distance, 1 - distance) > 0.3


def test_ink():
    assert ink_on("#ffff00") == "#000000"
    assert ink_on("#0000ff") == "#ffffff"
    assert ink_on("#ffffff") == "#000000"
    assert ink_on("#000000") == "#ffffff"
