"""The table of devices and radios that scenarios name, with where each number comes from.

Rates. Peaks are the makers' figures for float32 outside tensor cores. What is sustained of them is an estimate, and
each entry says which:

- graphics cards (`card`): a roofline. One image of 32 x 32 x 3 through the ConvNet of the distillation literature
  (three blocks, 128 filters) takes 101.4 MFLOP and moves 6.5 MB through memory, because every layer but the
  convolutions (bias, norm, ReLU, pooling) only reads and writes. Time = bytes / (80 % of the memory's bandwidth) +
  operations / (75 % of the peak). Two thirds of it and more is memory, which is why cards reach 12 to 48 % of their
  peak. The check on it: on the paper's own card a client's part then takes the minutes that the paper states
  (tests/collab/methods/test_operations.py).
- boards and phones: 10 % for embedded GPUs, 5 % for phones (they throttle), 4 % for small processors. These were
  taken, not measured; small batches on slow processors stay far below a roofline.

Power. `busy` is what the maker allows (the board's or module's limit) or what was measured under load, and so an upper
estimate for work that waits for memory. Of a card only the card counts, not the computer around it; of everything
else, the whole device. Idle powers are the least certain numbers here.

Radios. The slopes of published curves of power over throughput: 1 mW per Mbit/s is 1 nJ/bit. Not counted: the power
of a radio that is merely on, its way to and from sleep (an LTE radio stays at about 1 W for ten seconds after the last
bit: Huang et al. 2012), and the network beyond the host. The slopes of Huang et al. and the sending ones of Narayanan
et al. were checked against texts that cite them; the receiving ones of the latter could not be, and only agree with its
statement that sending costs 2.2 to 5.9 times as much.
"""

from __future__ import annotations

from collections.abc import Mapping

from simnet.devices import Device, Radio

OPERATIONS_PER_IMAGE = 101_449_728
"""One image of 3 x 32 x 32 forward through ConvNet-3 with 128 filters (torch's own counter)."""
MEMORY_BYTES_PER_IMAGE = 6_541_312
"""What that moves: each block's output 9.25 times (convolution 1, bias 2, norm 3, ReLU 2, pooling 1.25), and inputs."""
MEMORY_SHARE = 0.80
PEAK_SHARE = 0.75


def sustained_rate(peak_operations_per_s: float, memory_bytes_per_s: float) -> float:
    """Operations per second that a card sustains, by the roofline of this module's docstring."""
    memory_s = MEMORY_BYTES_PER_IMAGE / (MEMORY_SHARE * memory_bytes_per_s)
    arithmetic_s = OPERATIONS_PER_IMAGE / (PEAK_SHARE * peak_operations_per_s)
    return OPERATIONS_PER_IMAGE / (memory_s + arithmetic_s)


def card(name: str, peak: float, memory: float, what: str, busy_w: float, idle_w: float, power: str) -> Device:
    """A graphics card of `peak` operations and `memory` bytes per second; its rate has two digits."""
    rate = float(f"{sustained_rate(peak, memory):.2g}")
    share = f"a roofline sustains {100 * rate / peak:.0f} %"
    source = f"{what}: {peak / 1e12:.3g} TFLOP/s peak, {memory / 1e9:.4g} GB/s; {share}"
    return Device(name, rate, source, busy_w, idle_w, power)


_PHONES = (
    Device(
        "snapdragon-8-gen-3", 140e9, "Adreno 750: 2.8 TFLOP/s peak by third-party lists, 5 % (estimate)",
        9.0, 0.9, "estimate: reviews saw 8 to 12 W in GPU benchmarks; idle with the screen off, connected",
    ),
    Device(
        "snapdragon-8-gen-2", 105e9, "Adreno 740: 2.1 TFLOP/s peak, the lower of third-party lists, 5 % (estimate)",
        7.5, 0.8, "7.3 to 7.6 W measured in GPU benchmarks (notebookcheck, 2022); idle is an estimate",
    ),
    Device(
        "apple-a17-pro", 107e9, "6 cores x 128 lanes x 2 x 1.4 GHz: 2.15 TFLOP/s peak, 5 % (estimate)",
        8.0, 0.7, "estimate from the A16's 7.6 to 8.3 W in GPU benchmarks (notebookcheck, 2022); idle: estimate",
    ),
    Device(
        "snapdragon-695", 27e9, "a mid-range phone; Adreno 619: 0.54 TFLOP/s peak by third-party lists, 5 % (estimate)",
        3.5, 0.6, "estimate, from the class of chip",
    ),
)  # fmt: skip

_BOARDS = (
    Device(
        "raspberry-pi-4", 1.9e9, "4 x Cortex-A72, 1.5 GHz, 8 operations a cycle: 48 GFLOP/s peak, 4 % (estimate)",
        6.3, 3.0, "measured at the wall socket: 6.3 W under load, 3.0 W idle (chipwired.com, 36 measurements)",
    ),
    Device(
        "raspberry-pi-5", 6.1e9, "4 x Cortex-A76, 2.4 GHz, 2 x 128-bit FMA: 154 GFLOP/s peak, 4 % (estimate)",
        7.0, 3.0, "estimate: reviews saw 6.5 to 9 W with all cores busy and 2.7 to 3.3 W idle",
    ),
    Device(
        "jetson-nano", 23.6e9, "NVIDIA Jetson Nano: 128 cores, 0.92 GHz: 236 GFLOP/s peak, 10 % (estimate)",
        10.0, 2.0, "the 10 W mode of the module; idle: estimate",
    ),
    Device(
        "jetson-orin-nano", 128e9, "NVIDIA Jetson Orin Nano 8 GB: 1.28 TFLOP/s peak, 10 % (estimate)",
        15.0, 5.0, "the 15 W mode of the module; idle: estimate",
    ),
    Device(
        "jetson-agx-orin", 533e9, "NVIDIA Jetson AGX Orin 64 GB: 5.33 TFLOP/s peak, 10 % (estimate)",
        60.0, 10.0, "the module's limit, 60 W; idle: estimate",
    ),
)  # fmt: skip

_LAPTOPS = (
    Device(
        "laptop", 40e9, "measured: 2 server cores, ConvNet forward, width 128, torch 2.13",
        28.0, 8.0, "estimate: a laptop whose processor may take 15 to 20 W, and 8 W for the rest",
    ),
    card(
        "laptop-rtx-4060", 14.6e12, 256e9, "NVIDIA RTX 4060 Laptop, 3072 cores, 2.37 GHz",
        115.0, 6.0, "the card's highest limit, 115 W; idle: estimate",
    ),
    card(
        "quadro-p5000m", 6.2e12, 192e9, "NVIDIA Quadro P5000 mobile (the paper's), 2048 cores, 1.51 GHz",
        100.0, 8.0, "the card's limit, 100 W; idle: estimate",
    ),
)  # fmt: skip

_CARDS = (
    card(
        "rtx-3060", 12.7e12, 360e9, "NVIDIA RTX 3060, 3584 cores, 1.78 GHz",
        170.0, 13.0, "the board's limit, 170 W; idle: estimate from reviews",
    ),
    card(
        "rtx-4090", 82.6e12, 1008e9, "NVIDIA RTX 4090",
        450.0, 20.0, "the board's limit, 450 W; idle: estimate from reviews",
    ),
    card(
        "a100", 19.5e12, 2039e9, "NVIDIA A100 80 GB SXM",
        400.0, 50.0, "the module's limit, 400 W; idle: estimate",
    ),
    card(
        "h100", 67e12, 3350e9, "NVIDIA H100 SXM",
        700.0, 70.0, "the module's limit, 700 W; idle: estimate",
    ),
    card(
        "h200", 67e12, 4800e9, "NVIDIA H200 SXM",
        700.0, 75.0, "the module's limit, 700 W; idle: estimate",
    ),
)  # fmt: skip

DEVICES: Mapping[str, Device] = {device.name: device for device in (*_PHONES, *_BOARDS, *_LAPTOPS, *_CARDS)}

_NARAYANAN = "Narayanan et al., SIGCOMM 2021, Galaxy S20 Ultra"
_HUANG = "Huang et al., MobiSys 2012, HTC Thunderbolt"
RADIOS: Mapping[str, Radio] = {
    radio.name: radio
    for radio in (
        Radio(
            "ethernet", 1e-9, 1e-9,
            "estimate: 1 W for a 1 Gbit/s port in full use; a port draws most of it without traffic, too",
        ),
        Radio("wifi", 10e-9, 6e-9, "estimate for 802.11ac: 1 W more at 100 Mbit/s sending, 0.6 W receiving"),
        Radio("wifi-2012", 283.17e-9, 137.01e-9, f"measured, 802.11n: {_HUANG}"),
        Radio("lte", 80.21e-9, 14.55e-9, f"measured: {_NARAYANAN}"),
        Radio("lte-2012", 438.39e-9, 51.97e-9, f"measured: {_HUANG}"),
        Radio("5g-nr", 29.15e-9, 13.52e-9, f"measured, low band: {_NARAYANAN}"),
        Radio("5g-mmwave", 9.42e-9, 1.81e-9, f"measured: {_NARAYANAN}"),
    )
}  # fmt: skip
