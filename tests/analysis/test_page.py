"""What every page has in common."""

from __future__ import annotations

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
