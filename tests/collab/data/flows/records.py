"""Small files of flow records, and the mapping that reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from collab.data.flows.flow_format import FlowFormat
from collab.data.flows.reading import FlowBatch, read_flows

SMALL = {
    "name": "small",
    "features": [
        {"column": "bytes", "range": [0, 1000], "scale": "log"},
        {"column": "load", "range": [-1, 1]},
        {"column": "proto", "values": ["tcp", "udp"]},
    ],
    "label": {"column": "kind", "classes": {"benign": ["web", "mail"], "attack": ["flood"]}},
    "benign": "benign",
}


def form_of(**changes):
    """`SMALL` with other settings."""
    return FlowFormat.model_validate({**SMALL, **changes})


def write(path: Path, *lines, end="\n"):
    """A file of these lines."""
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
    return path


def read(paths, form, **options):
    """All flows of files as one batch; None if there are none."""
    batches = list(read_flows([paths] if isinstance(paths, Path) else paths, form, **options))
    if not batches:
        return None
    arrays = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ARRAYS)
    values, attacks, stations, sessions, rows = arrays
    return FlowBatch(values, attacks, stations, batches[-1].station_names, sessions, rows)


ARRAYS = ("values", "attacks", "stations", "sessions", "rows")
