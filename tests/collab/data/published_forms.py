"""Small data sets in every published form, written from the descriptions of the forms and not with the readers."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def random_samples(n: int, channels: int = 3, side: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8), rng.integers(0, 10, n)


def cifar_batches(per_batch: int = 4) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    names = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
    return {name: random_samples(per_batch, seed=seed) for seed, name in enumerate(names)}


def cifar_binary(images: np.ndarray, labels: np.ndarray) -> bytes:
    return b"".join(
        bytes([label]) + image.tobytes() for image, label in zip(images, labels.astype(np.uint8), strict=True)
    )


def python2_pickle(images: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch as Python 2 pickled it (protocol 2): texts are byte strings, and so is the content of the array."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)  # BININT

    raw = images.tobytes()
    dtype = (
        b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR"
        + b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    )  # fmt: skip
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR"
        + b"(" + number(1) + b"(" + number(len(labels)) + number(3072) + b"t" + dtype + b"\x89"
        + b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )  # fmt: skip
    listed = b"](" + b"".join(number(int(label)) for label in labels) + b"e"
    batch = text(b"batch_label") + text(b"training batch 1 of 5")
    return b"\x80\x02}(" + batch + text(b"labels") + listed + text(b"data") + array + b"u."


def cifar_folder(place: Path, batches: dict[str, tuple[np.ndarray, np.ndarray]], form: str = "bin") -> Path:
    folder = place / f"cifar-10-batches-{form}"
    folder.mkdir(parents=True)
    for name, (images, labels) in batches.items():
        if form == "bin":
            (folder / f"{name}.bin").write_bytes(cifar_binary(images, labels))
        else:
            (folder / name).write_bytes(python2_pickle(images, labels))
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES))
    return folder


def tar_of(folder: Path, path: Path) -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:]}") as archive:
        archive.add(folder, folder.name)
    return path


def jpeg(image: np.ndarray) -> bytes:
    """uint8 [3, side, side] as JPEG."""
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=95)
    return file.getvalue()


def smooth_images(n: int, side: int = 32) -> np.ndarray:
    """Images of one colour each, which JPEG hardly changes: uint8 [n, 3, side, side]."""
    colours = np.linspace(20, 235, 3 * n).astype(np.uint8).reshape(n, 3, 1, 1)
    return np.broadcast_to(colours, (n, 3, side, side)).copy()


def jpeg_folder(place: Path, train_per_class: int = 3, test_per_class: int = 1) -> Path:
    folder = place / "cifar10-images"
    images = iter(smooth_images(10 * (train_per_class + test_per_class)))
    for split, per_class in (("train", train_per_class), ("test", test_per_class)):
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for number in range(per_class):
                (folder / split / label / f"{number:04}.jpg").write_bytes(jpeg(next(images)))
    return folder
