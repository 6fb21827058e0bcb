"""What every caption says: which scenario, seeds and n, and in what our runs differ from the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis import paper
from analysis.observations import Observation, number_of, repeated


def provenance(observations: Sequence[Observation]) -> str:
    """Scenario, data, seeds, and n; what ± means."""
    scenarios = list(dict.fromkeys(found.scenario for found in observations))
    datasets = list(dict.fromkeys(found.dataset for found in observations))
    what = f"Scenario{'s' if len(scenarios) > 1 else ''} {_listed(scenarios)}; {_listed(datasets)}"
    seeds = sorted({found.seed for found in observations})
    counts = sorted({len(group.observations) for group in repeated(observations)})
    networks = sorted({len(next(iter(found.accuracies.values()))) for found in observations})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    spread = "; ± is the standard deviation over seeds (n - 1)" if counts[-1] > 1 else "; one seed, so no deviation"
    each = f"{_range(networks)} network{'' if networks == [1] else 's'} trained for each"
    named = _consecutive(seeds)
    return f"{what}; {'seeds' if len(seeds) > 1 else 'seed'} {named}, {n}{spread}; {each}."


THEIR_TRAFFIC = "5G-NIDD"
"""The title of the data of the paper's Figure 3 and Table 3: that of the published files, and of no others."""
_FORM = "5g-nidd"
_SYNTHETIC = "synthetic traffic"


def titled(title: str, observations: Sequence[Observation]) -> str:
    """A title that says so if any of what it stands over is of generated traffic."""
    is_synthetic = any(_SYNTHETIC in found.dataset for found in observations) and _SYNTHETIC not in title
    return f"{title}, {_SYNTHETIC}" if is_synthetic else title


def paper_traffic(observations: Sequence[Observation]) -> str:
    """What the paper's numbers on 5G traffic are of, beside our runs, as the sentence about them goes on."""
    titles = list(dict.fromkeys(found.dataset for found in observations))
    if titles == [THEIR_TRAFFIC]:
        return "of the same data, 5G-NIDD; its images are not published, ours are made of the flow records"
    ours = [title for title in titles if _SYNTHETIC in title] or [
        found.dataset for found in observations if found.value("dataset.name") == _FORM
    ]
    if ours and ours[0] != THEIR_TRAFFIC:
        return f"of real traffic, the published 5G-NIDD; ours is {ours[0]}"
    return "of other data than ours: 5G network traffic, which is not published"


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _consecutive(seeds: Sequence[int]) -> str:
    if len(seeds) > 3 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return _listed([str(seed) for seed in seeds])


def _listed(words: Sequence[str]) -> str:
    shown = list(words[:6])
    return ", ".join(shown) + (f" and {len(words) - 6} more" if len(words) > 6 else "")


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
