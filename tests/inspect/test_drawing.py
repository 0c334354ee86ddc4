"""Pages hold everything they need, pictures are PNGs of the same bytes each time."""

import base64
import re

from matplotlib.figure import Figure
from PIL import Image

from pipeline.inspect.drawing import Rendering, Section, table


def drawing():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    return figure


SHOWN = Rendering("a <b> & c", (Section("first", "1 < 2\n  two"), Section("", "more\n")), drawing)


def test_text_keeps_lines_and_headings():
    assert SHOWN.text() == "first\n1 < 2\n  two\n\nmore"


def test_nothing_is_drawn_where_nothing_is_asked_for(tmp_path):
    def never():
        raise AssertionError

    assert Rendering("t", (), never).write(None, None) == []


def test_the_page_is_self_contained_and_escaped(tmp_path):
    png, html = tmp_path / "a/p.png", tmp_path / "p.html"
    assert SHOWN.write(png, html) == [png, html]
    page = html.read_text()
    assert "<script" not in page
    assert "http" not in page
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in page
    assert "<pre>1 &lt; 2\n  two</pre>" in page
    assert page.count("<h2>") == 1
    (uri,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(uri) == png.read_bytes()
    assert Image.open(png).size == (240, 120)
    again = tmp_path / "q.png"
    SHOWN.write(again, None)
    assert again.read_bytes() == png.read_bytes()


def test_a_table_lines_up_its_columns():
    assert table([("a", "class", "x"), ("100", "ox", "1.5")], "><<") == "  a  class  x\n100  ox     1.5"
    assert table([], "><") == ""
