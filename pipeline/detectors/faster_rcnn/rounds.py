"""The two rounds of the alternating training (Faster R-CNN, section 3.2)."""

from pipeline.errors import InputError


def parse_round(arguments: list[str]) -> int:
    """Return the round, 1 or 2, that a stage's command line names.

    Raises:
        InputError: there is not exactly one argument, or it is neither.
    """
    if len(arguments) != 1 or arguments[0] not in ("1", "2"):
        raise InputError(f"the argument: found {' '.join(arguments) or 'nothing'!r}, expected the round, 1 or 2.")
    return int(arguments[0])
