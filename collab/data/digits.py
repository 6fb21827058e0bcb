"""The handwritten digits that come with the package: 1,797 images of 8x8, grey, 10 classes.

The test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, 1998, doi:10.24432/C50P49, CC BY 4.0), in the file that scikit-learn ships as `load_digits`.
Enlarged, because ConvNet pools an 8x8 image to a single pixel.
"""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources

import numpy as np
import torch
from torch.nn import functional

from collab.data.dataset import Samples
from collab.errors import DamagedDataError
from simnet.draws import generator

_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
_TRAIN_SAMPLES = 1297  # the remaining 500 judge


def load(side: int) -> tuple[Samples, Samples]:
    """Training (1,297) and test (500) samples, enlarged bilinearly to `side` x `side`; the split is always the same."""
    packed = (resources.files("collab.data") / "digits.csv.gz").read_bytes()
    if hashlib.sha256(packed).hexdigest() != _SHA256:
        raise DamagedDataError("the digits that come with the package are damaged; install it again")
    table = np.array([line.split(",") for line in gzip.decompress(packed).decode().splitlines()], dtype=np.float32)
    small = torch.from_numpy(table[:, :64].reshape(-1, 1, 8, 8) * (255 / 16))
    large = functional.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)
    samples = Samples(large.round().to(torch.uint8).numpy(), table[:, 64].astype(np.int64))
    order = generator(0, "digits", "split").permutation(len(samples))
    return samples.take(order[:_TRAIN_SAMPLES]), samples.take(order[_TRAIN_SAMPLES:])
