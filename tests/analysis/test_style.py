"""One style for pages and papers: what a figure looks like in each."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from PIL import Image

from analysis.style import BLUE, CHALK, CSS_VARIABLES, INK, PAPER, drawn, shades
from collab.errors import RunDirectoryError


def a_figure():
    with drawn(2.0, width_in=3.4, columns=2, sharey=True) as drawing:
        drawing.panels[0].plot([0, 1], [0, 1])
        drawing.panels[0].set_xlabel("seconds")
        drawing.panels[1].pcolormesh([[0, 1], [1, 0.5]], cmap=shades(BLUE))
        drawing.panels[1].text(0.5, 0.5, "a cell", color=CHALK)
    return drawing


def test_on_a_page_text_is_text_and_colours_are_the_pages():
    svg = a_figure().svg("two <panels>")
    assert svg.startswith('<svg class="figure" role="img" aria-label="two &lt;panels&gt;"')
    assert re.search(r">seconds</text>", svg)
    assert "var(--ink)" in svg
    assert "var(--blue)" in svg
    assert not any(colour in svg for colour in CSS_VARIABLES)
    assert CHALK in svg  # white on a filled cell, light or dark
    assert "<style" not in svg
    assert "<metadata" not in svg


def test_what_grows_in_a_shade_is_the_opacity():
    svg = a_figure().svg()
    assert re.findall(r"\"fill: var\(--blue\)(.*?)\"", svg) == ["", "", "; fill-opacity: 0.501961"]  # nothing for 0
    assert 'aria-hidden="true"' in svg


def test_every_variable_of_the_style_has_a_colour_on_the_light_and_on_the_dark_page():
    css = resources.files("analysis").joinpath("templates/page.css").read_text()
    for colour, variable in CSS_VARIABLES.items():
        assert re.search(rf"{variable}: (light-dark\({colour}, #[0-9a-f]{{6}}\)|{colour});", css), variable
    assert CSS_VARIABLES[INK] == "--ink"
    assert CSS_VARIABLES[PAPER] == "--paper"


@pytest.mark.parametrize("ending", [".pdf", ".svg", ".png", ".PNG"])
def test_for_papers_the_same_figure_gives_the_same_file(tmp_path, ending):
    first, second = (a_figure().save(tmp_path / f"{name}{ending}").read_bytes() for name in "ab")
    assert first == second
    if ending == ".svg":
        assert INK in first.decode()
        assert "var(" not in first.decode()
    if ending == ".png":
        with Image.open(tmp_path / "a.png") as picture:
            assert picture.width == 680


def test_another_ending_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(RunDirectoryError, match=r'expected a name that ends in \.pdf, \.svg, \.png, found "\.gif"$'):
        a_figure().save(tmp_path / "a.gif")
