"""`collab partition`: who holds what in a scenario, as tables and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from collab.options import AsJson, Overrides, ScenarioPath, check_picture

if TYPE_CHECKING:
    from rich.table import Table

    from collab.holdings import Holdings
    from collab.results import Material
    from collab.settings import Scenario

_MOST_ROWS = 30  # clients; of more, the first few and quantiles over all
_FIRST_ROWS = 10
_MOST_COLUMNS = 20  # classes; of more, the largest few of each client
_LARGEST = 4
_WIDEST = 10_000  # characters


def command(
    scenario: ScenarioPath,
    overrides: Overrides = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", "-f", help="Picture to write, .svg or .png.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which client of a scenario holds how many samples of each class, and how skewed that is."""
    check_picture(figure)
    from collab import scenario as scenarios
    from collab.console import LiveProgress
    from collab.run import prepare

    chosen = scenarios.load(scenario, overrides or [])
    with LiveProgress(f"{chosen.name}, partition", [], virtual=False) as progress:
        material = prepare(chosen, progress)
    holdings = _holdings(chosen, material)
    if figure is not None:
        from collab.partition_figure import draw

        draw(holdings, figure, title=f"{chosen.name}: {_title(material)}, {_in_words(chosen)}")
    if as_json:
        settings = chosen.partition.model_dump(mode="json")
        head = {"scenario": chosen.name, "seed": chosen.seed, "dataset": chosen.dataset.name, "partition": settings}
        print(json.dumps({**head, **holdings.as_json()}, indent=1))
        return
    _print(chosen, holdings, _title(material))
    if figure is not None:
        print(f"picture: {figure}")


def _holdings(scenario: Scenario, material: Material) -> Holdings:
    from collab.data.sites import site_names
    from collab.holdings import Holdings

    train = material.dataset.train
    sites = None
    if scenario.partition.scheme == "by_column" and train.sites is not None:
        sites = site_names(train.sites)
    dataset = material.dataset
    return Holdings.of(material.holdings, train.labels, dataset.spec.classes, sites, dataset.class_names)


def _in_words(scenario: Scenario) -> str:
    """The scheme and what it was told, as in the file."""
    settings = scenario.partition.model_dump(exclude={"scheme", "clients"}, exclude_none=True)
    said = [f"{key} {value:g}" for key, value in settings.items()]
    return ", ".join([scenario.partition.scheme, *said])


def _title(material: Material) -> str:
    """The name to show of the data that was loaded."""
    from collab.data.catalogue import title_of_data

    return title_of_data(material.dataset)


def _print(scenario: Scenario, holdings: Holdings, title: str) -> None:
    few = len(holdings.clients) <= _MOST_ROWS
    shown = range(len(holdings.clients) if few else _FIRST_ROWS)
    narrow = holdings.counts.shape[1] <= _MOST_COLUMNS
    _show(f"{scenario.name}, seed {scenario.seed}: {title}, {_in_words(scenario)}")
    if narrow:
        _show(_counts(holdings, shown), "samples of each class")
        _show(_shares(holdings, shown), "share of each class in what a client holds, %")
    else:
        _show(_largest(holdings, shown), f"the {_LARGEST} largest classes of each client")
    if not few:
        _show(_quantiles(holdings), f"all {len(holdings.clients):,} clients; above, the first {_FIRST_ROWS}")
    largest, smallest = int(holdings.sizes.max()), int(holdings.sizes.min())
    ratio = f", {largest / smallest:,.3g} to 1" if smallest else ""
    _show(
        f"\nlabel skew {holdings.label_skew:.3f} (0: every client has the mixture of the whole; near 1: each its own); "
        f"samples dealt at random would have {holdings.label_skew_by_chance:.3f}\n"
        f"sizes {smallest:,} to {largest:,}{ratio}; Gini coefficient {holdings.size_gini:.3f} (0: all alike; near 1: "
        f"one has it all), coefficient of variation {holdings.size_variation:.3f}"
    )
    if holdings.empty:
        _show(f"clients that hold nothing: {holdings.empty:,} of {len(holdings.clients):,}")


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    return table


def _named(holdings: Holdings, client: int) -> str:
    name = holdings.clients[client]
    return name if holdings.sites is None else f"{name} {holdings.sites[client]}"


def _counts(holdings: Holdings, shown: range) -> Table:
    table = _table("client", *holdings.classes, "samples")
    for client in shown:
        counts, size = holdings.counts[client].tolist(), int(holdings.sizes[client])
        table.add_row(_named(holdings, client), *(str(count) if count else "." for count in counts), f"{size:,}")
    table.add_row("all", *map(str, holdings.totals.tolist()), f"{holdings.samples:,}", style="bold")
    return table


def _shares(holdings: Holdings, shown: range) -> Table:
    from collab.holdings import Holdings

    table = _table("client", *holdings.classes, "classes", "effective")
    whole = Holdings(("all",), holdings.totals[None])
    for of, client, style in (*((holdings, client, "") for client in shown), (whole, 0, "bold")):
        pairs = zip(of.counts[client], of.shares[client], strict=True)
        shares = ("." if not count else "<1" if share < 0.005 else f"{100 * share:.0f}" for count, share in pairs)
        held, effective = int(of.classes_held[client]), float(of.effective_classes[client])
        table.add_row(_named(of, client), *shares, str(held), f"{effective:.1f}", style=style)
    return table


def _largest(holdings: Holdings, shown: range) -> Table:
    """Of many classes: those of which a client holds most."""
    table = _table("client", "samples", "classes", "effective", "class (share)")
    table.columns[-1].justify = "left"
    for client in shown:
        order = (-holdings.counts[client]).argsort(kind="stable")[:_LARGEST]
        held = [label for label in order if holdings.counts[client, label]]
        words = [f"{holdings.classes[label]} ({100 * holdings.shares[client, label]:.0f} %)" for label in held]
        table.add_row(
            _named(holdings, client),
            f"{int(holdings.sizes[client]):,}",
            str(int(holdings.classes_held[client])),
            f"{float(holdings.effective_classes[client]):.1f}",
            ", ".join(words),
        )
    return table


def _quantiles(holdings: Holdings) -> Table:
    from collab.holdings import QUANTILES

    table = _table("", *QUANTILES)
    for measure, values in holdings.quantiles().items():
        table.add_row(measure.replace("_", " "), *(f"{value:,.1f}".removesuffix(".0") for value in values.values()))
    return table


def _show(what: Any, title: str | None = None) -> None:
    """Print text or a table; in full, even where the terminal is too narrow for it."""
    from rich.console import Console

    console = Console(highlight=False)
    if isinstance(what, str):
        console.print(what, soft_wrap=True, markup=False)
        return
    console.print(f"\n{title}", style="dim")
    unlimited = console.options.update(max_width=_WIDEST)
    console.width = max(console.width, console.measure(what, options=unlimited).maximum)
    console.print(what)
