"""The directive `command`: how a command of `collab` is called, from the command itself, so that no page can be out of
date. `{command} data fetch` stands for usage, arguments and options of `collab data fetch`.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import typer.main
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from collab.cli import whole_app


class CommandDirective(SphinxDirective):
    """Usage, arguments and options of the command whose words are the directive's argument."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = False
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """The nodes in its place."""
        words = self.arguments[0].split()
        command: Any = typer.main.get_command(whole_app())
        for word in words:
            command = getattr(command, "commands", {}).get(word)
            if command is None:
                raise self.error(f"there is no command collab {' '.join(words)}")
        return self.parse_text_to_nodes(described(words, command))


def described(words: list[str], command: Any) -> str:
    """Markdown that says how a command is called."""
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = ["collab", *words, *(_usage(each) for each in arguments), *(["[OPTIONS]"] if options else [])]
    rows = [(f"`{_argument_name(each)}`", _meaning(each)) for each in arguments]
    rows += [(_spellings(each), _meaning(each)) for each in options]
    lines = [inspect.cleandoc(command.help or "").split("\f")[0], "", "```text", " ".join(usage), "```", ""]
    if rows:
        lines += ["| | |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows)]
    return "\n".join(lines)


def _argument_name(argument: Any) -> str:
    return str(argument.metavar or argument.name).upper()


def _usage(argument: Any) -> str:
    name = _argument_name(argument) + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _spellings(option: Any) -> str:
    metavar = "" if option.is_flag else f" {option.metavar or (option.name or '').upper()}"
    return ", ".join(f"`{each}{metavar}`" for each in (*option.opts, *option.secondary_opts))


def _meaning(parameter: Any) -> str:
    said = " ".join((parameter.help or "").split()).replace("|", "\\|").rstrip(".")
    default = parameter.default
    hidden = (
        getattr(parameter, "is_flag", False)
        or parameter.show_default is False
        or default is None
        or callable(default)
        or default in (False, (), [])
    )
    return f"{said}." if hidden else f"{said} (`{default}`)."


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("command", CommandDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
