"""Faults of a folder of annotated images, one at a time: of a file, of its bytes, of its text, of its JSON values."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from hypothesis import strategies as st

VALUES = (
    None, True, False, 0, 1, -1, 7, 0.5, -0.5, 99999, -(10**9), 1e300, 10**400, float("nan"), float("inf"), "", " ",
    "12", "nan", "cat", "\u732b", "\0", "\ud800", "a\nb", "../x.png", "/x.png", "x" * 5000, [], {}, [[]], [None],
    {"a": 1}, [1, 2], ["cat"],
)  # fmt: skip
TOKENS = (
    "", "0", "1", "-1", "7", "0.5", "-0.5", "1e300", "9" * 400, "nan", "inf", "1e", "0x1", "1_0", "\u0663", "a b",
    "\u732b", "\0", "\x1b[31m", "\u2028", "&amp;", "&x;", "<b>", "]]>", '"', "'", ",", ";", "\t", "\n", "\r", ":", "{",
    "#", "- ", "!!python/x", "*a", "&a", "../x", "/", ".", "..", "x" * 5000, "true", "~", "null", "cat", "test",
)  # fmt: skip
NAMES = (
    "", ".hidden", "a", "UPPER", "a b", "\u732b", "e\u0301", "x" * 250, "a.b", "%41", "\udcff", "a\nb", "-", "~",
    "train", "classes", "data",
)  # fmt: skip
ENDINGS = ("", ".txt", ".xml", ".json", ".csv", ".yaml", ".png", ".JPG", ".jpeg", ".gif", ".tiff", ".bak")


@dataclass(frozen=True)
class Fault:
    """A fault: the file it is in, what it is, and a function that puts it into a folder."""

    file: str
    kind: str
    put: Callable[[Path], None]

    def __repr__(self) -> str:
        return f"{self.kind} in {self.file}"


@st.composite
def faults(draw: st.DrawFn, files: dict[str, bytes]) -> Fault:
    """Return one fault of one of ``files``; of annotations three times as often as of pictures."""
    texts = [file for file in files if not file.endswith(".png")]
    file = draw(st.sampled_from([*texts, *texts, *texts, *(file for file in files if file.endswith(".png"))]))
    kinds = [of_a_file, of_bytes]
    if not file.endswith(".png"):
        kinds += [of_text, of_text]
    if file.endswith(".json"):
        kinds += [of_json] * 4
    if file.endswith(".xml"):
        kinds += [of_xml] * 4
    return draw(draw(st.sampled_from(kinds))(file, files))


@st.composite
def of_a_file(draw: st.DrawFn, file: str, files: dict[str, bytes]) -> Fault:
    """Return a file that is missing, called otherwise, there twice, or no file."""
    other = draw(st.sampled_from(sorted(files)))
    path = PurePosixPath(file)
    name = path.parent / f"{draw(st.sampled_from(NAMES)) or path.stem}{draw(st.sampled_from(ENDINGS)) or path.suffix}"

    def remove(root: Path) -> None:
        (root / file).unlink()

    def rename(root: Path) -> None:
        (root / file).rename(root / name)

    def copy(root: Path) -> None:
        (root / name).write_bytes(files[file])

    def copy_elsewhere(root: Path) -> None:
        (root / "more").mkdir()
        (root / "more" / path.name).write_bytes(files[file])

    def take_the_place(root: Path) -> None:
        (root / other).write_bytes(files[file])

    def folder(root: Path) -> None:
        (root / file).unlink()
        (root / file).mkdir()

    def link(target: str) -> Callable[[Path], None]:
        def put(root: Path) -> None:
            (root / file).unlink()
            (root / file).symlink_to(target)

        put.__name__ = f"link to {target}"
        return put

    def link_to_root(root: Path) -> None:
        (root / "again").symlink_to(root)

    puts = [remove, rename, rename, rename, copy, copy, copy_elsewhere, take_the_place, folder, link_to_root]
    puts += [link(path.name), link("nowhere"), link("..")]
    put = draw(st.sampled_from(puts))
    return Fault(file, f"{put.__name__} ({name!s:.40}, {other})", put)


@st.composite
def of_bytes(draw: st.DrawFn, file: str, files: dict[str, bytes]) -> Fault:
    """Return a file that is cut, changed in one byte, or written in another encoding."""
    content = files[file]
    at = draw(st.integers(0, max(0, len(content) - 1)))
    text = content.decode("latin-1")
    made = {
        "cut": content[:at],
        "cut in front": content[at:],
        "other byte": content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :],
        "more bytes": content[:at] + draw(st.binary(min_size=1, max_size=4)) + content[at:],
        "empty": b"",
        "zeros": bytes(len(content)),
        "text": b"no such thing\n",
        "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
        "twice": content * 2,
    }
    if not file.endswith(".png"):
        made |= {
            "BOM": b"\xef\xbb\xbf" + content,
            "UTF-16": text.encode("utf-16"),
            "UTF-32": text.encode("utf-32"),
            "latin-1": text.replace("a", "\u00e9").encode("latin-1"),
            "CRLF": content.replace(b"\n", b"\r\n"),
            "CR": content.replace(b"\n", b"\r"),
            "blanks": b" \n" + content + b"\n \n",
        }
    kind = draw(st.sampled_from(sorted(made)))
    return _written(file, f"{kind} at {at}", made[kind])


@st.composite
def of_text(draw: st.DrawFn, file: str, files: dict[str, bytes]) -> Fault:
    """Return a file with one word or one line that is missing, there twice, or another."""
    text = files[file].decode()
    pattern = draw(st.sampled_from([r"([\w.\-/]+)", r"(\n)", r"(<[^>]*>)", r"(\W)"]))
    parts = re.split(pattern, text)  # those at odd places match
    odd = range(1, len(parts), 2)
    if not odd:
        return _written(file, "one word", b"x")
    at = draw(st.sampled_from(odd))
    new = draw(st.sampled_from(["", parts[at] * 2, parts[at].upper(), *TOKENS]))
    parts[at] = new
    return _written(file, f"{new[:20]!r} at part {at} by {pattern}", "".join(parts).encode())


@st.composite
def of_json(draw: st.DrawFn, file: str, files: dict[str, bytes]) -> Fault:
    """Return a JSON file with one value or key that is missing, there twice, or another."""
    content = json.loads(files[file])
    places = list(_places(content))
    if not places:
        return _written(file, "a number", b"1")
    inside, key = draw(st.sampled_from(places))
    what = draw(st.sampled_from(["remove", "repeat", "replace", "replace", "replace", "call otherwise"]))
    value = draw(st.sampled_from(VALUES))
    kind = f"{what} {key!r} by {str(value)[:20]!r}"
    if what == "remove":
        del inside[key]
    elif what == "repeat" and isinstance(inside, list):
        inside.insert(key, inside[key])
    elif what == "call otherwise" and isinstance(inside, dict):
        inside[str(value)] = inside.pop(key)
    else:
        inside[key] = value
    return _written(file, kind, json.dumps(content).encode())


@st.composite
def of_xml(draw: st.DrawFn, file: str, files: dict[str, bytes]) -> Fault:
    """Return an XML file with one element that is missing, there twice, called otherwise, or has another text."""
    root = ElementTree.fromstring(files[file])
    inside = draw(st.sampled_from([element for element in root.iter() if len(element)]))
    element = draw(st.sampled_from(list(inside)))
    what = draw(st.sampled_from(["remove", "repeat", "text", "text", "text", "call otherwise", "put into another"]))
    text = draw(st.sampled_from([token for token in TOKENS if "\0" not in token]))
    if what == "remove":
        inside.remove(element)
    elif what == "repeat":
        inside.append(element)
    elif what == "text":
        element.text = text
    elif what == "call otherwise":
        element.tag = draw(st.sampled_from([element.tag.upper(), element.tag.title(), "x", "\u732b"]))
    else:
        inside.remove(element)
        ElementTree.SubElement(inside, "x").append(element)
    kind = f"{what} <{element.tag}> of <{inside.tag}> ({text!r:.20})"
    return _written(file, kind, ElementTree.tostring(root, encoding="utf-8"))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _written(file: str, kind: str, content: bytes) -> Fault:
    return Fault(file, kind, lambda root: (root / file).write_bytes(content) and None)
