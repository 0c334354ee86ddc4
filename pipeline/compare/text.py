"""Tables as plain text that fits a terminal, and as Markdown."""

import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from pipeline.compare.blocks import Block

WIDTH = 120
# Leaves room for six mean APs with their intervals.
NAME_WIDTH = 24
GAP = "  "


def as_text(blocks: Sequence[Block]) -> str:
    """Return the tables one below the other, no line longer than `WIDTH`; a wide one goes on below itself."""
    return "\n\n".join(_text_block(block) for block in blocks) + "\n"


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return the tables as GitHub's Markdown draws them."""
    return "\n\n".join(_markdown_block(block) for block in blocks) + "\n"


def _text_block(block: Block) -> str:
    table = [list(block.columns), *([_shortened(row[0]), *row[1:]] for row in block.rows)]
    if block.prose:
        room = WIDTH - sum(width + len(GAP) for width in _widths(table)[:-1])
        table = [[*row[:-1], _wrapped(row[-1], room)] for row in table]
    widths = _widths(table)
    parts = [
        "\n".join(_text_row([row[i] for i in part], [widths[i] for i in part]) for row in table)
        for part in _parts(widths)
    ]
    note = textwrap.fill(block.note, WIDTH)
    return "\n".join(filter(None, [block.title, "-" * len(block.title), "\n\n".join(parts), note]))


def _text_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    lines = zip_longest(*(cell.split("\n") for cell in cells), fillvalue="")
    return "\n".join(GAP.join(part.ljust(w) for part, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _parts(widths: Sequence[int]) -> list[list[int]]:
    """Deal the columns out to tables that fit, the first column leading each."""
    parts, used = [[0]], widths[0]
    for column in range(1, len(widths)):
        if used + len(GAP) + widths[column] > WIDTH and len(parts[-1]) > 1:
            parts.append([0])
            used = widths[0]
        parts[-1].append(column)
        used += len(GAP) + widths[column]
    return parts


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(line) for cell in column for line in cell.split("\n")) for column in zip(*table, strict=True)]


def _wrapped(cell: str, width: int) -> str:
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False) for line in cell.split("\n")
    )


def _shortened(label: str) -> str:
    """Return a label that fits: first the commit is left out, then the middle; experiments often differ at the end."""
    if len(label) <= NAME_WIDTH:
        return label
    name = re.sub(r" \(\w{7}\)$", "", label)
    half = (NAME_WIDTH - 3) // 2
    return name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 3 - half]}...{name[-half:]}"


def _markdown_block(block: Block) -> str:
    rows = [_markdown_row(block.columns), "|" + "---|" * len(block.columns), *map(_markdown_row, block.rows)]
    return "\n\n".join(filter(None, [f"### {block.title}", "\n".join(rows), _escaped(block.note)]))


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell).replace("\n", "<br>") for cell in cells) + " |"


def _escaped(text: str) -> str:
    for letter in "\\|*_~<":
        text = text.replace(letter, f"\\{letter}")
    return text
