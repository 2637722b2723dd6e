from pathlib import Path

import jinja2
import pytest
from markupsafe import Markup

from components.pages.rendering import render


def test_what_is_put_into_a_page_is_escaped_unless_it_is_markup(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text('<p title="{{ text }}">{{ text }}{{ svg }}</p>')
    page = render(template, text='"<script>&', svg=Markup("<svg/>"))
    escaped = "&#34;&lt;script&gt;&amp;"
    assert page == f'<p title="{escaped}">{escaped}<svg/></p>'


def test_a_page_brings_its_theme_and_lets_nothing_in(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text('{% extends "base.html" %}{% block content %}Hello{% endblock %}')
    page = render(template)
    assert "Hello" in page
    assert "prefers-color-scheme: dark" in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "//" not in page


def test_a_value_that_is_missing_is_an_error(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text("{{ forgotten }}")
    with pytest.raises(jinja2.UndefinedError, match="forgotten"):
        render(template)


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (0.0042, "0.4%"), (0.1, "10%"), (0.377, "38%"), (1, "100%")]
)
def test_shares_are_percentages(tmp_path: Path, share: float, text: str) -> None:
    template = tmp_path / "page.html"
    template.write_text("{{ share | percent }} of {{ 12345 | count }}")
    assert render(template, share=share) == f"{text} of 12,345"


def test_a_long_text_is_shortened_and_markup_is_not(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text("{{ text }} {{ svg }}")
    page = render(template, text="<" + "a" * 10**6 + ".jpg", svg=Markup("b" * 10**4))
    text, svg = page.split()
    assert text.startswith("&lt;aaa")
    assert text.endswith("aaa.jpg")
    assert "…" in text
    assert len(text) < 320
    assert len(svg) == 10**4
