"""A page: one HTML file that holds all that it shows, opens offline and asks nobody for anything.

Every page extends `templates/base.html.j2`: the head, the looks (`templates/page.css`: light and dark, phone, desk and
projector, print) and the switch between light and dark. It declares to the browser that nothing may be loaded, so that
a mistake cannot turn it into a page that needs a network.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.style import PAGE_WIDTH_IN, PHONE_WIDTH_IN
from collab.store.missing import missing_in_words
from collab.store.privacy import privacy_in_words
from simnet.units import format_energy, format_size

MOST_BYTES = 3_000_000
"""No page is larger: it is opened on phones and sent by mail."""
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="3" fill="#0072b2"/>'
    '<g fill="#e69f00"><circle cx="2" cy="2" r="2"/><circle cx="14" cy="2" r="2"/><circle cx="2" cy="14" r="2"/>'
    '<circle cx="14" cy="14" r="2"/></g></svg>'
)


def render(template: str, content: Mapping[str, Any]) -> str:
    """The page that `template`, which extends base.html.j2, makes of `content`.

    In templates: the filters `size`, `percent`, `energy`, `times`, `missing` and `privacy`, and `source(NAME)`, the
    text of a file beside the templates (a script, a style) as it is. Raises `jinja2.TemplateError`.
    """
    loader = PackageLoader("analysis", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters.update(
        size=format_size,
        percent=percent,
        energy=format_energy,
        times=times,
        missing=missing_in_words,
        privacy=privacy_in_words,
    )
    environment.globals.update(
        source=lambda name: Markup(loader.get_source(environment, name)[0]),
        icon=base64.b64encode(_ICON.encode()).decode(),
    )
    return environment.get_template(template).render(**content)


def write(path: Path, page: str) -> Path:
    """Write a page; returns its path. Raises `OSError` if it cannot be written."""
    path.write_text(page, encoding="utf-8")
    return path


def both(draw: Callable[[float], str]) -> Markup:
    """A figure drawn for desks and for phones (`draw` is given inches of width); the page shows the one that fits."""
    wide, narrow = (draw(width_in) for width_in in (PAGE_WIDTH_IN, PHONE_WIDTH_IN))
    return Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>')


def embedded(value: Any) -> Markup:
    """A value as JSON that can stand in a `<script type="application/json">`: nothing in it ends the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def percent(share: float) -> str:
    """A share of 1 in per cent, without the sign."""
    return f"{100 * share:.1f}"


def times(count: int) -> str:
    """How often, in words."""
    return "once" if count == 1 else f"{count} times"


def number(count: int, noun: str, plural: str | None = None) -> str:
    """A number of things in words: "1 site", "5 sites"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
