from pipeline.evaluation.errors import TYPES
from pipeline.report.colours import TYPE_COLOURS


def test_every_error_type_has_its_colour():
    assert list(TYPE_COLOURS) == list(TYPES)
