"""`collab data make-traffic`: synthetic traffic in the form of 5G-NIDD, where the published files are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from collab.options import AsJson


def command(
    folder: Annotated[Path, typer.Argument(help="Where Combined.csv and README.txt are written.", show_default=False)],
    share: Annotated[float, typer.Option(help="Of the published numbers of flows.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of all draws.")] = 0,
    stations: Annotated[int, typer.Option(min=1, max=16, help="Base stations; the third is another operator's.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Write synthetic traffic with the columns of 5G-NIDD; nothing in it was ever captured."""
    from collab.data.flows.synthetic import TITLE, numbers_of_flows, write_traffic
    from collab.progress_bars import progress_bars
    from simnet.units import format_size

    with progress_bars() as told:
        path = write_traffic(folder, seed=seed, share=share, stations=stations, progress=told)
    flows, size_bytes = numbers_of_flows(share, stations, seed), path.stat().st_size
    if as_json:
        made = {"seed": seed, "share": share, "flows": flows}
        print(json.dumps({"title": TITLE, "path": str(path), "size_bytes": size_bytes, **made}, indent=1))
        return
    total = sum(sum(classes.values()) for classes in flows.values())
    print(f"{TITLE}: {total:,} flows of {', '.join(flows)}, {format_size(size_bytes)}, in {path}")
