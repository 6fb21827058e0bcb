"""Tables as text: Markdown, LaTeX (booktabs), CSV, and for the terminal."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from analysis.observations import Estimate
from analysis.tables import Entry, Table

NOTHING = "\N{EN DASH}"
_CSV_COLUMNS = ("group", "column", "mean", "deviation", "n", "paper", "paper_source")
_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "β": r"$\beta$",
    "±": r"$\pm$",
    "\\": r"\textbackslash{}",
}


def estimate_text(found: Estimate, digits: int = 4) -> str:
    """An estimate in a word: "93.38 ± 0.29", with `digits` significant ones but no more than two decimals."""
    decimals = _decimals(found.mean, digits)
    spread = f" ± {found.deviation:.{decimals}f}" if found.n > 1 else ""
    return f"{found.mean:.{decimals}f}{spread}"


def _decimals(value: float, digits: int) -> int:
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return max(0, min(2 if whole else 3, digits - whole))


def entry_text(entry: Entry) -> str:
    """A cell in a word: our estimate, and the paper's number in brackets."""
    ours = NOTHING if entry.ours is None else estimate_text(entry.ours)
    return ours if entry.paper is None else f"{ours} [{entry.paper.percent:.2f}]"


def cell_text(table: Table, row: str, column: tuple[str, str]) -> str:
    """A cell in a word; it says its n where that is not the one of most cells."""
    if (row, column) in table.texts:
        return table.texts[row, column]
    entry = table.entries[row, column]
    usual = Counter(entry.ours.n for entry in table.entries.values() if entry.ours).most_common(1)
    aside = f" (n = {entry.ours.n})" if entry.ours and entry.ours.n != usual[0][0] else ""
    return entry_text(entry) + aside


def row_label(table: Table, row: str) -> str:
    """A row's name; results are numbered, as a method has many."""
    return row.partition(" ")[2] if table.name == "results" else row


def markdown(table: Table) -> str:
    """A heading, a pipe table, the caption."""
    heads = [" ".join(part for part in column if part) for column in table.columns]
    lines = [
        f"### {table.title}",
        "",
        f"| {table.corner} | {' | '.join(heads)} |",
        "|---|" + "--:|" * len(heads),
    ]
    for row in table.rows:
        lines.append(
            f"| {row_label(table, row)} | {' | '.join(cell_text(table, row, each) for each in table.columns)} |"
        )
    return "\n".join([*lines, "", table.caption, ""])


def csv_text(table: Table) -> str:
    """One line an entry: row, column, mean, deviation, n, the paper's number and its source."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measured = [column for column in table.columns if not any((row, column) in table.texts for row in table.rows)]
    said = [column for column in table.columns if column not in measured]
    writer.writerow(["table", table.corner, *(" ".join(column).strip() for column in said), *_CSV_COLUMNS])
    for row in table.rows:
        words = [table.texts[row, column] for column in said]
        for column in measured:
            entry = table.entries[row, column]
            ours = ["", "", ""] if entry.ours is None else [entry.ours.mean, entry.ours.deviation, entry.ours.n]
            theirs = ["", ""] if entry.paper is None else [entry.paper.value, entry.paper.source]
            writer.writerow([table.name, row_label(table, row), *words, *column, *ours, *theirs])
    return out.getvalue()


def latex(table: Table) -> str:
    """A floating table; the document needs the package booktabs."""
    groups = [(name, len(list(columns))) for name, columns in groupby(table.columns, key=lambda column: column[0])]
    above = [rf"\multicolumn{{{width}}}{{c}}{{{_escaped(name)}}}" for name, width in groups]
    below = [_escaped(column[1]) for column in table.columns]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["", *above]) + r" \\",
        " & ".join([_escaped(table.corner), *below]) + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        cells = [_escaped(cell_text(table, row, column)) for column in table.columns]
        lines.append(" & ".join([_escaped(row_label(table, row)), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def terminal(table: Table) -> Any:
    """For rich's console."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=table.title, title_justify="left", title_style="bold")
    shown.add_column(table.corner)
    for column in table.columns:
        shown.add_column("\n".join(part for part in column if part), justify="right")
    for row in table.rows:
        shown.add_row(row_label(table, row), *(cell_text(table, row, column) for column in table.columns))
    return Group(shown, Text(table.caption, style="dim"), Text())


FORMS: Mapping[str, Callable[[Table], str]] = {"markdown": markdown, "csv": csv_text, "latex": latex}


def joined(tables: Sequence[Table], form: str) -> str:
    """All tables as one text, a blank line between them: each has a head of its own, also in CSV."""
    return "\n".join(FORMS[form](table) for table in tables)
