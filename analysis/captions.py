"""What every caption says: which scenario, seeds and n, and in what our runs differ from the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis import paper
from analysis.observations import Observation, number_of, repeated


def provenance(observations: Sequence[Observation]) -> str:
    """Scenario's data, seeds, and n; what ± means."""
    seeds = sorted({found.seed for found in observations})
    counts = sorted({len(group.observations) for group in repeated(observations)})
    networks = sorted({len(next(iter(found.accuracies.values()))) for found in observations})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    spread = "; ± is the standard deviation over seeds (n - 1)" if counts[-1] > 1 else "; one seed, so no deviation"
    each = f"{_range(networks)} network{'' if networks == [1] else 's'} trained for each"
    return f"{'Seeds' if len(seeds) > 1 else 'Seed'} {_listed(seeds)}, {n}{spread}; {each}."


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _listed(seeds: Sequence[int]) -> str:
    if len(seeds) > 3 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def differences(observations: Sequence[Observation], exhibit: str) -> str:
    """In which settings the runs differ from the paper's "table2", "table3", "figure2" or "figure3".

    Each as "setting ours (the paper's)"; settings that no run has are passed over.
    """
    found = []
    for name, theirs in paper.settings(exhibit).items():
        ours = [value for observation in observations if (value := observation.value(name)) is not None]
        distinct = list(dict.fromkeys(map(_plain, ours)))
        if distinct and any(value != theirs.value for value in distinct):
            aside = "" if theirs.given == paper.PRINTED else f", {theirs.given}"
            found.append(f"{name} {_spoken(distinct)} ({_spoken([theirs.value])}{aside})")
    return (
        f"Differs from the paper (its value in brackets): {', '.join(found)}." if found else "Settings as the paper's."
    )


def _plain(value: Any) -> float | str:
    number = number_of(value)
    return str(value) if number is None else number


def _spoken(values: Sequence[float | str]) -> str:
    return " and ".join(f"{value:g}" if isinstance(value, float) else value for value in values)
