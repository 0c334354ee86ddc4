"""What all pages rely on: nothing from a dataset becomes markup, and no figure is missing unseen."""

from pathlib import Path

import jinja2
import pytest

from pipeline.html_templates import environment


def test_values_are_escaped_and_unknown_names_are_errors(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{% if true %}\n  <b>{{ name }}</b>\n{% endif %}\n")
    template = environment(tmp_path).get_template("page.html")
    assert template.render(name="<i>&") == "  <b>&lt;i&gt;&amp;</b>\n"
    with pytest.raises(jinja2.UndefinedError):
        template.render()
