"""Without whom a method went on: the sites whose uploads a round was closed before (the scenario's `wait_for`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_MOST_NAMED = 8  # sites in one sentence


def missing_in_words(missing: Mapping[str, Sequence[str]]) -> str:
    """`missing` of a summary's row, site -> why, as "without client-3 (deadline)"; nothing if all uploads were in."""
    if not missing:
        return ""
    named = list(missing)[:_MOST_NAMED]
    more = f" and {len(missing) - len(named):,} more" if len(missing) > len(named) else ""
    reasons = sorted({reason for each in missing.values() for reason in each})
    return f"without {', '.join(named)}{more} ({', '.join(reasons)})"
