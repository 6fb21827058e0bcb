"""The site: `make docs` builds it into build/docs, warnings are errors."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

project = "collab"
author = "the authors of collab"
release = metadata.version("collab-edge")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "command_pages"]
exclude_patterns: list[str] = []
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4

# A reference that leads nowhere is an error. Of other packages' names nothing is known here: builds need no network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!(simnet|collab|analysis)\.).*")]

default_role = "code"  # docstrings put names between single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures stay readable; docstrings say shapes and units
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "model_config"}
napoleon_numpy_docstring = False
add_module_names = False

html_theme = "furo"
html_title = "collab"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {"color-api-name": "#1d4ed8", "color-api-pre-name": "#52525b"},
    "dark_css_variables": {"color-api-name": "#93c5fd", "color-api-pre-name": "#a1a1aa"},
}
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
highlight_language = "none"  # a block without a language is what a command printed
pygments_style = "tango"
pygments_dark_style = "monokai"
