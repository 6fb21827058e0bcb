"""`collab devices`: the devices and radios that a scenario can name, with their numbers and where those come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from simnet import DEVICES, RADIOS
from simnet.units import format_energy_per_bit, format_operation_rate, format_power

_YOUR_OWN = """\
Rates are sustained, for small float32 convolutions. Numbers of your own:
  devices: {client: {rate: 1 TFLOP/s, power: 20 W, idle_power: 5 W}}
  radios: {client: {transmit: 80 nJ/bit, receive: 15 nJ/bit}}"""


def command() -> None:
    """List the devices and radios that a scenario can name, and where their numbers come from."""
    output = Console(highlight=False)
    _heading(output, "devices: {client: NAME, server: NAME, client-3: NAME}", "rate", "busy", "idle")
    for device in DEVICES.values():
        numbers = (
            format_operation_rate(device.operations_per_s),
            format_power(device.busy_w),
            format_power(device.idle_w),
        )
        _entry(output, device.name, numbers, (device.source, f"power: {device.power_source}"))
    output.print()
    _heading(output, "radios: {client: NAME}", "sending", "receiving")
    for radio in RADIOS.values():
        joules = (format_energy_per_bit(radio.transmit_j_per_bit), format_energy_per_bit(radio.receive_j_per_bit))
        _entry(output, radio.name, joules, (radio.source,))
    output.print(f"\n{_YOUR_OWN}", soft_wrap=True)


def _heading(output: Console, usage: str, *columns: str) -> None:
    output.print(Text(usage, "bold"))
    output.print(_line("", columns), style="bold")


def _entry(output: Console, name: str, numbers: Sequence[str], sources: Iterable[str]) -> None:
    """A line of a name and numbers, and below it, indented, where the numbers come from."""
    output.print(_line(name, numbers))
    for source in sources:
        output.print(Padding(Text(source, "dim"), (0, 0, 0, 4)))


def _line(name: str, columns: Sequence[str]) -> str:
    return f"{name:<22}" + "".join(f"{column:>14}" for column in columns)
