"""Tables of what runs yielded: the paper's Tables 2 and 3 with its numbers beside ours, and a list of all results.

A table is plain data here; `analysis.table_forms` writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from analysis import paper
from analysis.captions import differences, paper_traffic, provenance, titled
from analysis.naming import paper_names, short_names, written
from analysis.observations import Estimate, Observation, number_of, repeated, varying
from analysis.paper import Quoted

PAPER_METHODS = ("fedd3", "dosfl", "dense", "localdm", "collabdm", "collabdm-pae")
ARCHITECTURES = ("convnet", "alexnet", "vgg11", "resnet18")
_LOSSY = "-jpeg"
_NOT_SET = "not set"


class UnsupportedByRunsError(Exception):
    """What was asked for cannot be made of these runs; the message says what they lack."""


@dataclass(frozen=True)
class Entry:
    """A cell: our estimate, and the paper's number; either may be missing."""

    ours: Estimate | None = None
    paper: Quoted | None = None


@dataclass(frozen=True)
class Table:
    """Estimates in rows and columns, each named by one or two words; `corner` says what rows and columns are.

    `unit` is that of all entries, written in the caption.
    """

    name: str
    title: str
    corner: str
    rows: Sequence[str]
    columns: Sequence[tuple[str, str]]
    entries: Mapping[tuple[str, tuple[str, str]], Entry]
    caption: str
    texts: Mapping[tuple[str, tuple[str, str]], str] = field(default_factory=dict)
    """Cells that are words or other numbers, instead of entries."""


def table2(observations: Sequence[Observation]) -> list[Table]:
    """Table 2: accuracy by method, data set and beta. One table for each combination of further settings that differ.

    Raises `UnsupportedByRunsError` if no run has a Dirichlet partition, or a cell would have to leave runs out.
    """
    usable = [
        found
        for found in observations
        if str(found.value("partition.scheme")).startswith("dirichlet") and found.value("partition.beta") is not None
    ]
    if not usable:
        raise UnsupportedByRunsError("Table 2 needs runs with partition.scheme: dirichlet and a beta; there are none")
    apart = ("dataset.name", "partition.beta", "method.expand", "method.name")
    return [_table2(part, words) for words, part in apart_by_settings(usable, apart)]


def _table2(observations: Sequence[Observation], words: str) -> Table:
    quoted = paper.table2()
    cells: dict[tuple[str, tuple[str, str]], Entry] = {}
    columns: dict[tuple[str, str], None] = {}
    datasets = {str(found.value("dataset.name")): found.dataset for found in observations}
    betas = sorted({float(found.value("partition.beta")) for found in observations})
    names = paper_names(observations)
    methods = dict.fromkeys([*PAPER_METHODS, *(found.paper_method for found in observations)])
    rows = [row for method in methods for row in names.get(method, {method: ()})]
    method_of = {row: method for method, own in names.items() for row in own}
    for (dataset, title), beta, row in product(datasets.items(), betas, rows):
        chosen = [
            found
            for found in names.get(method_of.get(row, row), {}).get(row, ())
            if found.value("dataset.name") == dataset and float(found.value("partition.beta")) == beta
        ]
        column = (title, f"β = {written(beta)}")
        columns[column] = None
        printed = quoted.get((dataset.removesuffix(_LOSSY), beta, method_of.get(row, row)))
        cells[row, column] = Entry(_estimate(chosen, row), printed)
    rows = [row for row in rows if any(cells[row, column] != Entry() for column in columns)]
    lossy = " CIFAR-10 (JPEG), lossy copies, stands beside the paper's CIFAR10." if "cifar10-jpeg" in datasets else ""
    known = any(entry.paper for entry in cells.values())
    theirs = (
        "In brackets the paper's Table 2, where it has the cell." if known else "The paper has none of these cells."
    )
    caption = (
        f"Accuracy on test data in percent. {theirs}"
        f"{lossy} {differences(observations, 'table2')} {provenance(observations)}"
    )
    title = titled(f"Table 2{_of(words)}", observations)
    return Table(f"table2{named_after(words)}", title, "method", rows, list(columns), cells, caption)


def _estimate(observations: Sequence[Observation], row: str) -> Estimate | None:
    """Over the seeds. Raises `UnsupportedByRunsError` unless all observations repeat each other."""
    groups = repeated(observations)
    if len(groups) > 1:
        raise UnsupportedByRunsError(
            f"a cell of {row} would have to leave runs out: {len(groups)} groups of them differ in what no table "
            "tells apart; name fewer runs"
        )
    return groups[0].accuracy_percent if groups else None


def table3(observations: Sequence[Observation]) -> list[Table]:
    """Table 3: accuracy by the network of distillation (rows) and the network that is tested (columns).

    One table for each method and combination of further settings that differ. Raises `UnsupportedByRunsError` if only
    one network was tested and only one distilled.
    """
    usable = [found for found in observations if any(name in ARCHITECTURES for name in found.accuracies)]
    tables = []
    apart = ("method.architecture", "evaluation.networks")
    for words, part in apart_by_settings(usable, apart):
        for method in dict.fromkeys(found.paper_method for found in part):
            own = [found for found in part if found.paper_method == method]
            trained = {str(found.value("method.architecture")) for found in own}
            if len(trained) > 1 or len(_tested(own)) > 1:
                tables.append(_table3(own, method, words))
    if not tables:
        raise UnsupportedByRunsError(
            "Table 3 needs more than one network: several in evaluation.networks, or runs that differ in "
            "method.architecture"
        )
    return tables


def _tested(observations: Sequence[Observation]) -> list[str]:
    found = {name for observation in observations for name in observation.accuracies}
    return [name for name in ARCHITECTURES if name in found]


def _table3(observations: Sequence[Observation], method: str, words: str) -> Table:
    quoted = paper.table3()
    cells: dict[tuple[str, tuple[str, str]], Entry] = {}
    columns = [("tested", name) for name in ARCHITECTURES]
    for trained, (_, tested) in product(ARCHITECTURES, columns):
        means = {
            found.seed: 100 * sum(found.accuracies[tested]) / len(found.accuracies[tested])
            for found in observations
            if found.value("method.architecture") == trained and tested in found.accuracies
        }
        ours = Estimate.of(means.values()) if means else None
        cells[trained, ("tested", tested)] = Entry(ours, quoted[trained, tested])
    caption = (
        f"Accuracy of {method} on test data in percent; rows: the network whose embeddings distilled the set, columns: "
        f"the network trained on it and tested. In brackets the paper's Table 3, {paper_traffic(observations)} (the "
        "corner of the printed table is ambiguous: its rows are read as the networks of distillation). "
        f"{differences(observations, 'table3')} {provenance(observations)}"
    )
    title = titled(f"Table 3: {method}{_of(words)}", observations)
    name = f"table3-{method}{named_after(words)}"
    return Table(name, title, "distilled \\ tested", list(ARCHITECTURES), columns, cells, caption)


def apart_by_settings(
    observations: Sequence[Observation], shown: Sequence[str]
) -> Iterator[tuple[str, list[Observation]]]:
    """Parts that differ only in the settings `shown` (names, or sections by their name with a dot), method and seed.

    With each comes in words what the part has and others have not; nothing if there is one part. A setting that some
    methods or data sets lack puts only those apart that have it; one that was given in some runs and left out in others
    of the same method and data puts those apart, too.
    """
    names = list(varying(observations, shown))
    had = {(*_problem(found), name) for found in observations for name in names if found.flat.get(name) is not None}
    combinations = [
        tuple(_value(found, name) if (*_problem(found), name) in had else None for name in names)
        for found in observations
    ]
    parts: dict[tuple[str | None, ...], list[Observation]] = {combination: [] for combination in combinations}
    for found, own in zip(observations, combinations, strict=True):
        for combination, part in parts.items():
            if _within(own, combination):
                part.append(found)
    # A combination that only lacks what others have stands in theirs already.
    whole = {
        combination: part
        for combination, part in parts.items()
        if not any(other != combination and _within(combination, other) for other in parts)
    }
    yield from zip(_in_words(names, list(whole)), whole.values(), strict=True)


def _in_words(names: Sequence[str], combinations: Sequence[tuple[str | None, ...]]) -> list[str]:
    """What each combination has and others have not; what it leaves out is said only if nothing else tells it apart."""
    telling = [place for place in range(len(names)) if len({combination[place] for combination in combinations}) > 1]
    called = short_names(names)
    whole = [
        [(called[names[place]], value) for place in telling if (value := combination[place]) is not None]
        for combination in combinations
    ]
    brief = [[pair for pair in pairs if pair[1] != _NOT_SET] or pairs for pairs in whole]
    chosen = brief if len(set(map(tuple, brief))) == len(brief) else whole
    return [", ".join(f"{name} {value}" for name, value in pairs) for pairs in chosen]


def _problem(found: Observation) -> tuple[str, str]:
    return found.method, str(found.value("dataset.name"))


def _value(found: Observation, name: str) -> str:
    value = found.flat.get(name)
    return _NOT_SET if value is None else written(found.said(name))


def _within(own: Sequence[str | None], other: Sequence[str | None]) -> bool:
    return all(mine in (theirs, None) for mine, theirs in zip(own, other, strict=True))


def _of(words: str) -> str:
    return f" ({words})" if words else ""


def named_after(words: str) -> str:
    """What a file name ends with, of something that `apart_by_settings` put apart."""
    kept = "".join(letter if letter.isalnum() or letter == "." else "-" for letter in words.replace("β", "beta"))
    return f"-{'-'.join(part for part in kept.split('-') if part)}" if words else ""


def results(observations: Sequence[Observation]) -> list[Table]:
    """Every method with every combination of settings: accuracy, bytes, seconds and energy."""
    if not observations:
        raise UnsupportedByRunsError("there is no finished run")
    groups = repeated(observations)
    differing = list(varying(observations, ("method.name",)))
    measured: tuple[tuple[str, str, Callable[[Any], Estimate | None], float], ...] = (
        ("accuracy", "%", lambda group: group.accuracy_percent, 1.0),
        ("upload per client", "kB", lambda group: group.upload_bytes, 1e-3),
        ("last upload", "s", lambda group: group.last_upload_s, 1.0),
        ("result", "s", lambda group: group.result_s, 1.0),
        ("energy per client", "J", lambda group: group.energy_j, 1.0),
    )
    called = short_names(differing)
    columns = [("", called[name]) for name in differing]
    cells: dict[tuple[str, tuple[str, str]], Entry] = {}
    texts: dict[tuple[str, tuple[str, str]], str] = {}
    rows = []
    groups.sort(key=lambda group: [_order(group.value(name)) for name in differing])
    for number, group in enumerate(groups, 1):
        row = f"{number} {group.method}"
        rows.append(row)
        for name in differing:
            value = group.first.said(name)
            texts[row, ("", called[name])] = "" if value is None else written(value)
        for title, unit, read, scale in measured:
            found = read(group)
            scaled = found and Estimate(scale * found.mean, scale * found.deviation, found.n)
            cells[row, (title, unit)] = Entry(scaled)
    columns += [(title, unit) for title, unit, _, _ in measured if any(cells[row, (title, unit)].ours for row in rows)]
    caption = "Mean of the clients for bytes and joules; seconds are virtual in a simulated world. " + provenance(
        observations
    )
    return [Table("results", titled("Results", observations), "method", rows, columns, cells, caption, texts)]


def _order(value: Any) -> tuple[float, str]:
    number = number_of(value)
    return (-1.0 if number is None else number, str(value))


TABLES: Mapping[str, Callable[[Sequence[Observation]], list[Table]]] = {
    "results": results,
    "table2": table2,
    "table3": table3,
}
"""By the name that `--only` takes."""
