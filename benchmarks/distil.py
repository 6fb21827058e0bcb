"""How fast distillation is: a plain transcription of the algorithm against ours, on the same data, in one run.

    python benchmarks/distil.py [--width W] [--precision float32|bfloat16] [--threads N] [--seed S]
                                [--same-allocator] [--json]

The transcription follows the structure of the paper's Algorithm 1 and of its published code in torch modules: float32,
a network built anew for each seed, one class at a time, whole batches at once, one evaluation network after the other.
Ours is what `collab run` runs. Both get the same images (random, 1x28x28, ten classes) and the same settings:

- embeddings: class means of 200 images of each class under 3 networks (B = 200);
- server: 3 steps of refinement of 10 images of each class with partition-and-expand;
- evaluation: 5 networks, 2 epochs over the same 400 expanded images, batches of 256.

`ratios` are seconds of the transcription over ours, the best of `--repeats` runs of each, taken in turn. Each side has
a process of its own: the transcription one like any script, ours one like the command makes of it, which keeps freed
memory (`collab.process`); `--same-allocator` shows what is left without that.
`ceiling_share` is the share of this machine's measured matrix-multiply rate that our embeddings reach, by the
operations of the plain convolutions: with fewer multiplications than these it can come near to 1 or exceed it.
`client_peak_mb` is the growth of a process that embeds T networks, for two T.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from collab.augment import per_sample, siamese
from collab.compute import Device
from collab.data import Dataset, ImageSpec, Samples, SiteData
from collab.evaluation import EvaluationSettings, evaluate
from collab.matching import Descent, Moments, SyntheticSet, class_moments, expand
from collab.nets import NetworkSpec, operations_per_image, seeded_network
from collab.process import keep_freed_memory
from simnet.draws import generator

CLASSES = 10
STRATEGY = ("color", "crop", "cutout", "scale", "rotate")
IMAGES = ImageSpec(CLASSES, 1, 28, (0.1307,), (0.3081,), STRATEGY)
PARTS = ("embeddings", "server", "evaluation")
REAL_PER_CLASS, SYNTHETIC_PER_CLASS, NETWORKS, EPOCHS, JUDGES = 200, 10, 3, 2, 5


def module(spec: NetworkSpec, seed: int, device: torch.device) -> nn.Module:
    """ConvNet as torch modules, built from a seed of the global generator."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    channels = spec.channels
    for block in range(spec.depth):
        padding = 3 if block == 0 and spec.channels == 1 else 1
        layers += [nn.Conv2d(channels, spec.width, 3, padding=padding), nn.GroupNorm(spec.width, spec.width)]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
        channels = spec.width
    return nn.Sequential(nn.Sequential(*layers, nn.Flatten()), nn.Linear(spec.embedding_size, spec.classes)).to(device)


class Plain:
    """The algorithm, written down as it is stated."""

    def __init__(self, spec: NetworkSpec, device: torch.device, seed: int) -> None:
        self.spec, self.device, self.seed = spec, device, seed

    def means(self, real: Sequence[Tensor]) -> list[Tensor]:
        """Class means under each network, one class after the other."""
        found = []
        for network_seed in range(NETWORKS):
            network = module(self.spec, network_seed, self.device)
            for parameter in network.parameters():
                parameter.requires_grad = False
            for label, images in enumerate(real):
                augment = siamese(STRATEGY, generator(self.seed, network_seed, label))
                found.append(network[0](augment(images)).mean(dim=0))
        return found

    def refine(self, images: Tensor, targets: Tensor) -> Tensor:
        """A step for each network and class, by torch's SGD."""
        images = images.clone().requires_grad_()
        optimiser = torch.optim.SGD([images], lr=10.0, momentum=0.5)
        labels = torch.arange(CLASSES).repeat_interleave(SYNTHETIC_PER_CLASS)
        for network_seed in range(NETWORKS):
            network = module(self.spec, network_seed, self.device)
            for parameter in network.parameters():
                parameter.requires_grad = False
            for label in range(CLASSES):
                augment = siamese(STRATEGY, generator(self.seed, network_seed, label))
                embedded = network[0](augment(expand(images[labels == label], 2)))
                loss = (embedded.mean(dim=0) - targets[label]).square().sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return images.detach()

    def judge(self, images: Tensor, labels: Tensor) -> None:
        """Train networks on the set, one after the other."""
        for repeat in range(JUDGES):
            network = module(self.spec, repeat, self.device)
            optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
            draws = generator(self.seed, "judge", repeat)
            for _ in range(EPOCHS):
                for batch in torch.from_numpy(draws.permutation(len(images))).to(self.device).split(256):
                    scores = network(per_sample(STRATEGY, draws, len(batch))(images[batch]))
                    optimiser.zero_grad()
                    nn.functional.cross_entropy(scores, labels[batch]).backward()
                    optimiser.step()


class Ours:
    """The same by the functions that a run uses."""

    def __init__(self, spec: NetworkSpec, device: Device, seed: int) -> None:
        self.spec, self.device, self.seed = spec, device, seed
        self.network = seeded_network(spec, 0, device)

    def _augmentations(self, network_seed: int) -> list[Callable[[Tensor], Tensor]]:
        return [siamese(STRATEGY, generator(self.seed, network_seed, label)) for label in range(CLASSES)]

    def means(self, real: Sequence[Tensor]) -> list[Tensor]:
        """Class means under each network, all classes in one pass."""
        portions = [[images] for images in real]
        return [
            class_moments(self.network.reseed(seed), portions, range(CLASSES), self._augmentations(seed)).means
            for seed in range(NETWORKS)
        ]

    def refine(self, images: Tensor, targets: Tensor) -> Tensor:
        """A step for each network."""
        labels = torch.arange(CLASSES).repeat_interleave(SYNTHETIC_PER_CLASS)
        descent = Descent(SyntheticSet(images.clone(), labels, 2), 10.0, 0.5)
        moments = Moments(list(range(CLASSES)), targets)
        for seed in range(NETWORKS):
            descent.step_toward(self.network.reseed(seed), moments, self._augmentations(seed))
        return descent.synthetic.images

    def judge(self, images: Tensor, labels: Tensor) -> None:
        """Train networks on the set, several at once."""
        nothing = Samples(np.zeros((1, 1, 28, 28), np.uint8), np.zeros(1, np.int64))
        settings = EvaluationSettings(epochs=EPOCHS, repeats=JUDGES)
        dataset = Dataset("random", IMAGES, nothing, nothing)
        evaluate(SyntheticSet(images, labels), dataset, self.spec, settings, self.seed, self.device)


class Bench:
    """Both sides on the same images; `seconds` runs one of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.spec = NetworkSpec(options.width, 3, 1, 28, CLASSES)
        plain = Plain(self.spec, self.device, options.seed)
        ours = Ours(self.spec, Device(self.device, options.precision), options.seed)
        draws = torch.Generator().manual_seed(options.seed)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, 1, 28, 28, generator=draws).to(self.device)

        real = [random(REAL_PER_CLASS) for _ in range(CLASSES)]
        images = random(CLASSES * SYNTHETIC_PER_CLASS)
        targets = torch.rand(CLASSES, self.spec.embedding_size, generator=draws).to(self.device)
        many = expand(images, 2)
        labels = torch.arange(CLASSES).repeat_interleave(SYNTHETIC_PER_CLASS).repeat(4).to(self.device)
        self._work: dict[tuple[str, str], Callable[[], Any]] = {
            (side.__class__.__name__, part): work
            for side in (plain, ours)
            for part, work in (
                ("embeddings", partial(side.means, real)),
                ("server", partial(side.refine, images, targets)),
                ("evaluation", partial(side.judge, many, labels)),
            )
        }

    def seconds(self, side: str, part: str) -> float:
        """How long one side takes for one part."""
        return _seconds(self._work[side, part])


_bench: Bench | None = None


def _begin(options: argparse.Namespace, as_command: bool) -> None:
    """Make this process what a plain script has, or what the command makes of it."""
    global _bench  # noqa: PLW0603  (the state of a worker process)
    if as_command and not options.same_allocator:
        keep_freed_memory()
    _bench = Bench(options)


def _timed(side: str, part: str) -> float:
    assert _bench is not None
    return _bench.seconds(side, part)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run everything, each side in a process of its own, in turn; returns what is printed."""
    context = multiprocessing.get_context("spawn")
    plain, ours = (
        ProcessPoolExecutor(1, context, initializer=_begin, initargs=(options, as_command))
        for as_command in (False, True)
    )
    with plain, ours:
        best = {}
        for part in PARTS:
            taken = [
                (plain.submit(_timed, "Plain", part).result(), ours.submit(_timed, "Ours", part).result())
                for _ in range(options.repeats + 1)
            ]
            best[part] = tuple(map(min, zip(*taken[1:], strict=True)))  # the first makes what is made once
        device, gigaflops = ours.submit(_machine, options.precision).result()
    rate = NETWORKS * CLASSES * REAL_PER_CLASS / best["embeddings"][1]
    forward = operations_per_image(NetworkSpec(options.width, 3, 1, 28, CLASSES)).forward
    return {
        "device": device,
        "width": options.width,
        "precision": options.precision,
        "ratios": {name: round(theirs / mine, 2) for name, (theirs, mine) in best.items()},
        "seconds": {name: [round(theirs, 3), round(mine, 3)] for name, (theirs, mine) in best.items()},
        "images_per_s": round(rate),
        "matrix_multiply_gflops": round(gigaflops),
        "ceiling_share": round(rate * forward / gigaflops / 1e9, 2),
        "client_peak_mb": {
            str(networks): client_peak_mb(options.width, options.precision, networks) for networks in (2, 8)
        },
    }


def _machine(precision: str) -> tuple[str, float]:
    """What this is, and 1e9 operations per second of its matrix products."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    name = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    return name, matrix_rate(device, precision) / 1e9


def _seconds(function: Callable[[], Any]) -> float:
    _wait()
    began_s = time.perf_counter()
    function()
    _wait()
    return time.perf_counter() - began_s


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rate(device: torch.device, precision: str) -> float:
    """Operations per second of a large matrix product, the best of five."""
    size = 8192 if device.type == "cuda" else 1024
    factor = torch.randn(size, size, device=device, dtype=getattr(torch, precision))
    return 2 * size**3 / min(_seconds(lambda: factor @ factor) for _ in range(5))


def client_peak_mb(width: int, precision: str, networks: int) -> float:
    """By how much the peak memory of a fresh process grows when it embeds 2,000 images under so many networks."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_peak_mb, width, precision, networks).result()


def _peak_mb(width: int, precision: str, networks: int) -> float:
    keep_freed_memory()
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), REAL_PER_CLASS)
    site = SiteData(Samples(draws.integers(0, 256, (len(labels), 1, 28, 28), np.uint8), labels), IMAGES)
    network = seeded_network(NetworkSpec(width, 3, 1, 28, CLASSES), 0, Device(torch.device("cpu"), precision))
    if precision == "bfloat16":  # compiling is not what grows with the networks
        class_moments(network, [[torch.zeros(1, 1, 28, 28)]], [0], [lambda images: images])
    before_mb = _lowered_mark_mb()
    for seed in range(networks):
        network.reseed(seed)
        portions = [site.portions(label, None, generator(seed, label)) for label in range(CLASSES)]
        class_moments(network, portions, range(CLASSES), [lambda images: images] * CLASSES)
    return round(_high_water_mb() - before_mb, 1)


def _lowered_mark_mb() -> float:
    """Give back what is free, set the high-water mark to what is in use, and say how much that is."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _high_water_mb()


def _high_water_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(given: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--same-allocator", action="store_true", help="ours, too, with the system's own allocator")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(given)
    found = measure(options)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['device']}, width {found['width']}, {found['precision']}")
    for name, ratio in found["ratios"].items():
        theirs, mine = found["seconds"][name]
        print(f"  {name:10} {theirs:8.3f} s plainly, {mine:8.3f} s ours: {ratio:.2f} times as fast")
    print(
        f"  {found['images_per_s']} images/s, {found['ceiling_share']:.0%} of {found['matrix_multiply_gflops']} GFLOP/s"
    )
    peaks = ", ".join(f"{peak} MB with {networks} networks" for networks, peak in found["client_peak_mb"].items())
    print(f"  a client's peak memory grows by {peaks}")


if __name__ == "__main__":
    main(sys.argv[1:])
