"""`collab networks`: the architectures that a scenario can name, with their sizes and checksums."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

_DIGITS = 12


def command(
    channels: Annotated[int, typer.Option(min=1, max=64, help="Channels of the images: 1 for grey, 3 for colour.")] = 3,
    side: Annotated[int, typer.Option(min=1, max=1024, help="Pixels a side.")] = 32,
    classes: Annotated[int, typer.Option(min=1, max=10_000, help="Classes that the head tells apart.")] = 10,
    width: Annotated[int, typer.Option(min=1, max=4096, help="Filters per block of the ConvNet.")] = 128,
    depth: Annotated[int, typer.Option(min=1, max=10, help="Blocks of the ConvNet.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the weights to make checksums of.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print whole checksums, as JSON, and nothing else.")] = False,
) -> None:
    """List the networks that a scenario can name: sizes, operations, checksums of their seeded weights."""
    from collab.nets import ARCHITECTURES

    rows = [_row(name, (width, depth, channels, side, classes), seed) for name in ARCHITECTURES]
    images = {"channels": channels, "side": side, "classes": classes}
    if as_json:
        print(json.dumps({**images, "width": width, "depth": depth, "seed": seed, "networks": rows}, indent=1))
        return
    output = Console(highlight=False)
    title = f"for images of {channels}x{side}x{side}, {classes} classes, weights of seed {seed}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("network", "parameters", "embedding", "operations\nan image", "first tensor", "all weights"):
        table.add_column(column, justify="left" if column in ("network", "first tensor", "all weights") else "right")
    for row in rows:
        if "error" not in row:
            table.add_row(
                row["name"],
                f"{row['parameters']:,}",
                f"{row['embedding_size']:,}",
                f"{row['operations_per_image'] / 1e6:,.1f} M",
                row["first_tensor_sha256"][:_DIGITS],
                row["weights_sha256"][:_DIGITS],
            )
    output.print(table)
    for row in rows:
        if "error" in row:
            output.print(row["error"], soft_wrap=True)
    output.print(f"checksums: the first {_DIGITS} digits of SHA-256 of the float32 weights", soft_wrap=True)


def _row(name: Any, numbers: tuple[int, int, int, int, int], seed: int) -> dict[str, Any]:
    """What there is to know of one architecture, or why it cannot take such images."""
    from collab.errors import ScenarioError
    from collab.nets import NetworkSpec, full_layout, operations_per_image, seeded_network

    try:
        spec = NetworkSpec(*numbers, architecture=name)
    except ScenarioError as error:
        return {"name": name, "error": str(error)}
    network = seeded_network(spec, seed)
    first = network.parameters()[0].numpy().tobytes()
    return {
        "name": name,
        "parameters": sum(parameter.size for parameter in full_layout(spec)),
        "embedding_size": spec.embedding_size,
        "operations_per_image": operations_per_image(spec).forward,
        "first_tensor_sha256": hashlib.sha256(first).hexdigest(),
        "weights_sha256": network.checksum(),
    }
