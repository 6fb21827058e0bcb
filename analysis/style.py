"""How everything that this package draws looks: one style, colours safe for colour-blind readers, pages and papers.

A figure is drawn once and given in two forms. `Drawing.svg` is for pages: text stays text, and every colour of the
style becomes a CSS variable of the page (`--ink`, `--blue`, ...; templates/page.css), so that one figure serves the
light page and the dark one. `Drawing.save` is for papers: PDF, SVG or PNG with the colours as they stand here.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from collab.errors import RunDirectoryError

# Okabe and Ito (2008): distinguishable with every common colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442",
)  # fmt: skip
INK, SOFT, FAINT, GRID, WASH, PAPER = "#1d2733", "#5b6875", "#c9d1d9", "#eef1f4", "#e8edf1", "#ffffff"
CHALK = "#fdfdfd"
"""White on the page of either theme, for text on a cell filled with a colour."""

SERIES_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
"""For series of which no colour has a meaning, in this order; what is refused, late or critical is RED."""
SERIES_MARKERS = ("o", "s", "D", "^", "v", "P")

CSS_VARIABLES = {
    INK: "--ink", SOFT: "--soft", FAINT: "--faint", GRID: "--grid", WASH: "--wash", PAPER: "--paper",
    BLUE: "--blue", ORANGE: "--orange", GREEN: "--green", RED: "--red", PURPLE: "--purple", SKY: "--sky",
    YELLOW: "--yellow",
}  # fmt: skip
"""The variable of the page that stands for each colour."""

PAGE_WIDTH_IN, PHONE_WIDTH_IN = 8.2, 4.3
"""A page has its figures in both widths, and shows the one that can be read; see `page.both`."""
COLUMN_WIDTH_IN, TEXT_WIDTH_IN = 3.4, 7.0
"""Inches of one column, and of both, in a paper of two columns."""
FORMATS = (".pdf", ".svg", ".png")

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, searchable
    "svg.hashsalt": "collab",  # the same figure gives the same text
    "pdf.fonttype": 42,  # TrueType: what journals ask for
    "savefig.dpi": 200,
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Segoe UI", "Helvetica Neue", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.prop_cycle": cycler(color=SERIES_COLOURS),
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Drawing:
    """A figure in the common style, and its panels row by row."""

    figure: Figure
    panels: list[Axes]

    @property
    def axes(self) -> Axes:
        """The first panel: the only one, of most figures."""
        return self.panels[0]

    def svg(self, description: str = "") -> str:
        """The figure as an `<svg>` element for a page; `description` is what screen readers say of it.

        Its colours are the page's: those of `CSS_VARIABLES` become variables. Other colours stay as they are.
        """
        buffer = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        # matplotlib's rule for `*` would hold for all of the page: page.css has it for figures.
        text = re.sub(r"<style[^>]*>.*?</style>", "", text, count=1, flags=re.DOTALL)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
        text = re.sub(r"#[0-9a-f]{6}\b", _as_variable, text)
        label = f'aria-label="{html.escape(description)}"' if description else 'aria-hidden="true"'
        return text.replace("<svg ", f'<svg class="figure" role="img" {label} ', 1)

    def save(self, path: Path) -> Path:
        """Write the figure as PDF, SVG or PNG, as the name ends; the same figure gives the same file.

        Raises `RunDirectoryError` for another ending, `OSError` if it cannot be written.
        """
        metadata: dict[str, dict[str, Any]] = {
            ".pdf": {"CreationDate": None},
            ".svg": {"Date": None},
            ".png": {"Software": None},
        }
        ending = path.suffix.lower()
        if ending not in metadata:
            raise RunDirectoryError(f'{path}: expected a name that ends in {", ".join(FORMATS)}, found "{path.suffix}"')
        with mpl.rc_context(STYLE):
            self.figure.savefig(path, format=ending[1:], metadata=metadata[ending])
        return path


@contextmanager
def drawn(
    height_in: float, *, width_in: float = PAGE_WIDTH_IN, rows: int = 1, columns: int = 1, **subplots: Any
) -> Iterator[Drawing]:
    """A figure in the common style to draw into, of `rows` times `columns` panels; use it afterwards.

    `subplots` is handed to matplotlib's, `sharex=True` for instance.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, **subplots)
        yield Drawing(figure, list(panels.flat))


def shades(colour: str) -> LinearSegmentedColormap:
    """A map from nothing to a colour that works on light and on dark: what grows is its opacity, from 0 to 1.

    Draw it with vectors (`pcolormesh`), not as an image: an image's colours cannot follow the page.
    """
    red, green, blue = to_rgb(colour)
    return LinearSegmentedColormap.from_list(colour, [(red, green, blue, 0.0), (red, green, blue, 1.0)])


def _as_variable(found: re.Match[str]) -> str:
    variable = CSS_VARIABLES.get(found[0])
    return found[0] if variable is None else f"var({variable})"
