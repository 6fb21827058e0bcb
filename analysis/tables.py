"""Tables of what runs yielded: the paper's Tables 2 and 3 with its numbers beside ours, and a list of all results.

A table is plain data here; `analysis.table_forms` writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from analysis import paper
from analysis.captions import differences, provenance
from analysis.observations import Estimate, Observation, number_of, repeated, varying
from analysis.paper import Quoted

PAPER_METHODS = ("fedd3", "dosfl", "dense", "localdm", "collabdm", "collabdm-pae")
ARCHITECTURES = ("convnet", "alexnet", "vgg11", "resnet18")
_LOSSY = "-jpeg"


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

    Raises `UnsupportedByRunsError` if no run has a Dirichlet partition.
    """
    usable = [found for found in observations if str(found.value("partition.scheme")).startswith("dirichlet")]
    if not usable:
        raise UnsupportedByRunsError("Table 2 needs runs with partition.scheme: dirichlet and a beta; there are none")
    apart = ("dataset.", "partition.beta", "method.expand", "method.name")
    return [_table2(part, words) for words, part in apart_by_settings(usable, apart)]


def _table2(observations: Sequence[Observation], words: str) -> Table:
    quoted = paper.table2()
    cells: dict[tuple[str, tuple[str, str]], Entry] = {}
    columns: dict[tuple[str, str], None] = {}
    datasets = {str(found.value("dataset.name")): found.dataset for found in observations}
    betas = sorted({float(found.value("partition.beta")) for found in observations})
    methods = {found.paper_method: None for found in observations}
    rows = [*PAPER_METHODS, *(name for name in methods if name not in PAPER_METHODS)]
    for (dataset, title), beta, method in product(datasets.items(), betas, rows):
        chosen = [
            found
            for found in observations
            if found.value("dataset.name") == dataset
            and float(found.value("partition.beta")) == beta
            and found.paper_method == method
        ]
        column = (title, f"β = {beta:g}")
        columns[column] = None
        printed = quoted.get((dataset.removesuffix(_LOSSY), beta, method))
        cells[method, column] = Entry(_estimate(chosen), printed)
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
    return Table(f"table2{named_after(words)}", f"Table 2{_of(words)}", "method", rows, list(columns), cells, caption)


def _estimate(observations: Sequence[Observation]) -> Estimate | None:
    """Over the seeds; all observations must repeat each other."""
    return repeated(observations)[0].accuracy_percent if observations else None


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
        "the network trained on it and tested. In brackets the paper's Table 3 (5G network traffic, which is not "
        "published: other data than ours; the corner of the printed table is ambiguous, its rows are read as the "
        f"networks of distillation). {differences(observations, 'table3')} {provenance(observations)}"
    )
    title = f"Table 3: {method}{_of(words)}"
    name = f"table3-{method}{named_after(words)}"
    return Table(name, title, "distilled \\ tested", list(ARCHITECTURES), columns, cells, caption)


def apart_by_settings(
    observations: Sequence[Observation], shown: Sequence[str]
) -> Iterator[tuple[str, list[Observation]]]:
    """Parts that differ only in the settings `shown` (names, or sections by their name with a dot), method and seed.

    With each comes in words what the part has and others have not; nothing if there is one part. A setting that some
    methods lack puts only those apart that have it.
    """
    names = list(varying(observations, shown))
    parts: dict[tuple[str, ...], list[Observation]] = {}
    for combination in dict.fromkeys(_values(found, names) for found in observations):
        parts.setdefault(combination, [])
    for found in observations:
        own = _values(found, names)
        for combination, part in parts.items():
            if all(mine in (theirs, "") for mine, theirs in zip(own, combination, strict=True)):
                part.append(found)
    # A combination that only lacks what others have stands in theirs already.
    whole = {
        combination: part
        for combination, part in parts.items()
        if not any(
            other != combination and all(mine in (theirs, "") for mine, theirs in zip(combination, other, strict=True))
            for other in parts
        )
    }
    for combination, part in whole.items():
        said = zip(names, combination, strict=True)
        yield ", ".join(f"{short(name)} {value}" for name, value in said if value), part


def _values(found: Observation, names: Sequence[str]) -> tuple[str, ...]:
    return tuple("" if found.value(name) is None else written(found.value(name)) for name in names)


def short(name: str) -> str:
    """A setting as a caption calls it: without its section, unless that says more."""
    known = {
        "partition.clients": "K",
        "partition.beta": "β",
        "method.images_per_class": "images per class",
        "network.access.bandwidth": "access bandwidth",
        "network.access.latency": "access latency",
        "network.server.bandwidth": "server bandwidth",
        "network.server.latency": "server latency",
        "dataset.name": "data set",
    }
    return known.get(name, name.rpartition(".")[2].replace("_", " "))


def on_axis(name: str) -> str:
    """A setting as an axis calls it."""
    return {"partition.clients": "clients K", "partition.beta": "β: the smaller, the more skewed"}.get(
        name, short(name)
    )


def written(value: Any) -> str:
    """The value of a setting, in a word."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "+".join(written(each) for each in value)
    return str(value)


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
    columns = [("", short(name)) for name in differing]
    cells: dict[tuple[str, tuple[str, str]], Entry] = {}
    texts: dict[tuple[str, tuple[str, str]], str] = {}
    rows = []
    groups.sort(key=lambda group: [_order(group.value(name)) for name in differing])
    for number, group in enumerate(groups, 1):
        row = f"{number} {group.method}"
        rows.append(row)
        for name in differing:
            value = group.value(name)
            texts[row, ("", short(name))] = "" if value is None else written(value)
        for title, unit, read, scale in measured:
            found = read(group)
            scaled = found and Estimate(scale * found.mean, scale * found.deviation, found.n)
            cells[row, (title, unit)] = Entry(scaled)
    columns += [(title, unit) for title, unit, _, _ in measured if any(cells[row, (title, unit)].ours for row in rows)]
    caption = "Mean of the clients for bytes and joules; seconds are virtual in a simulated world. " + provenance(
        observations
    )
    return [Table("results", "Results", "method", rows, columns, cells, caption, texts)]


def _order(value: Any) -> tuple[float, str]:
    number = number_of(value)
    return (-1.0 if number is None else number, str(value))


TABLES: Mapping[str, Callable[[Sequence[Observation]], list[Table]]] = {
    "results": results,
    "table2": table2,
    "table3": table3,
}
"""By the name that `--only` takes."""
