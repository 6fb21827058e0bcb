"""Digits of another data set as files of SVHN's published form, to try what reads them where SVHN is not at hand.

    python benchmarks/svhn_form.py DIRECTORY [--digits mnist|digits] [--seed 0] [--train 20000] [--test 5000]

Every image is centred in 32x32 pixels and painted in a bright colour on a dark one, both drawn; the labels are 1 to 10,
10 being the digit 0. Then `COLLAB_DATA_DIR=DIRECTORY collab run ... --set dataset.name=svhn`. Clutter, blur and
neighbouring digits, which make SVHN hard, are not imitated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from collab.data import Samples
from collab.data.loading import load_dataset
from collab.data.settings import DigitsSettings, IdxSettings

SIDE = 32


def painted(samples: Samples, draws: np.random.Generator) -> dict[str, NDArray[Any]]:
    """X, uint8 [32, 32, 3, n], and y, uint8 [n, 1], of grey digits that are at most as large."""
    n, _, side, _ = samples.images.shape
    before = (SIDE - side) // 2
    ink = np.zeros((n, SIDE, SIDE, 1))
    ink[:, before : before + side, before : before + side, 0] = samples.images[:, 0] / 255
    bright, dark = draws.uniform(0.5, 1, (n, 1, 1, 3)), draws.uniform(0, 0.4, (n, 1, 1, 3))
    images = (255 * (ink * bright + (1 - ink) * dark)).astype(np.uint8)
    labels = np.where(samples.labels == 0, 10, samples.labels).astype(np.uint8)
    return {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None]}


def main(given: Sequence[str]) -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--digits", choices=("mnist", "digits"), default="mnist")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=20_000, help="training images, at most")
    parser.add_argument("--test", type=int, default=5_000, help="test images, at most")
    options = parser.parse_args(given)
    known = {"mnist": IdxSettings(name="mnist"), "digits": DigitsSettings(name="digits", side=28)}
    settings = known[options.digits]
    digits = load_dataset(settings, options.seed)
    options.directory.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(options.seed)
    for split, samples, most in (("train", digits.train, options.train), ("test", digits.test, options.test)):
        path = options.directory / f"{split}_32x32.mat"
        savemat(path, painted(samples.take(np.arange(min(most, len(samples)))), draws))
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
