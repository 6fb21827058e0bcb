"""What every page has in common."""

from __future__ import annotations

import json
import re

import jinja2
import pytest

from analysis import page

BASE = "base.html.j2"


def test_a_page_may_load_nothing():
    text = page.render(BASE, {})
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "http" not in policy
    assert "--ink: light-dark(" in text
    assert "collab-theme" in text


def test_a_file_beside_the_templates_stands_in_the_page_as_it_is():
    assert 'localStorage.getItem("collab-theme")' in page.render(BASE, {})


def test_a_template_that_names_what_is_not_there_is_an_error():
    with pytest.raises(jinja2.TemplateNotFound):
        page.render("none.html.j2", {})


def test_a_figure_is_there_for_desks_and_for_phones():
    text = page.both(lambda width_in: f"<svg>{width_in}</svg>")
    assert text == '<div class="wide"><svg>8.2</svg></div><div class="narrow"><svg>4.3</svg></div>'


def test_data_in_a_page_ends_no_element():
    text = page.embedded({"name": "</script><b>", "number": 1})
    assert text == '{"name":"\\u003c/script>\\u003cb>","number":1}'
    assert json.loads(text) == {"name": "</script><b>", "number": 1}
    with pytest.raises(ValueError, match="Out of range"):
        page.embedded([float("nan")])


def test_it_is_written_where_it_should_be(tmp_path):
    assert page.write(tmp_path / "a.html", "ä").read_bytes() == "ä".encode()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (page.number(1, "site"), "1 site"),
        (page.number(1234, "site"), "1,234 sites"),
        (page.number(2, "class", "classes"), "2 classes"),
        (page.times(1), "once"),
        (page.times(3), "3 times"),
        (page.percent(0.1234), "12.3"),
    ],
)
def test_numbers_in_words(found, words):
    assert found == words
