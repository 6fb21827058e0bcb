"""Are the files of a data set what they should be: read in full, and compared with what is published.

A set whose files are not the published ones may still have the published content, under another compression or in
another order; these are told apart from damage by checksums of the content. The digests of content are MD5, as
others have recorded them for the same files; those that do not depend on the order were computed here, MNIST's from
content with the published MD5, Fashion-MNIST's from a copy in another order whose pixels have the published mean and
deviation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from collab.data import cifar, cifar_jpeg, digits, idx, svhn
from collab.data.catalogue import KNOWN, how_to_get, places
from collab.data.dataset import Samples
from collab.data.decoded import Parts
from collab.data.download import PublishedFile, sha256_of
from collab.data.flows import sources
from collab.data.flows.settings import NiddSettings
from collab.data.progress import Progress, silence
from collab.errors import DamagedDataError, DataError

Verdict = Literal["published", "repacked", "reordered", "copy", "differs", "damaged", "missing"]
"""From best to worst. published: the files are the published ones. repacked: their content is, bit for bit.
reordered: the same samples in another order. copy: copies that say that they are lossy. differs: readable, but
neither. damaged: cannot be read."""
SOUND: tuple[Verdict, ...] = ("published", "repacked", "reordered", "copy")

_ORDER: tuple[Verdict, ...] = (*SOUND, "differs", "damaged", "missing")

# MD5 of what the published files hold, unpacked.
_CONTENT_MD5: Mapping[str, Mapping[str, str]] = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "cifar10": {
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
}
# The python form's archive, which is read but not downloaded.
_PYTHON_ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
# Training and test samples as a set, see `unordered_digest`.
_UNORDERED: Mapping[str, tuple[str, str]] = {
    "mnist": (
        "830801046719649a3dec279d42286a3dbfe7a5e16ef2ec8f25afc399817f1ddb",
        "624ca703585622a3a1e3d8950a3c61f92b4790b0fd7a36204a6ae8fa213e6fe8",
    ),
    "fashion-mnist": (
        "23d0847d9126d5c6802a53a9f500589c268a56a198e59487c201f31e0b50cea3",
        "12d524c7dc0398176d8e0e8b912b81331400f3fe085b466efdd22932f4e4917d",
    ),
}
# The JPEG copies that this project's figures were made with, see `files_digest`.
_JPEG_DIGEST = "c2a86d4f87b43f460b3ba52638de32ca4e84cda0321ab394b529a9896fab7359"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was found of one file, or of a folder."""

    path: str
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of a data set; its samples are None if they could not be read."""

    name: str
    title: str
    verdict: Verdict
    note: str
    files: tuple[FileReport, ...] = ()
    train_samples: int | None = None
    test_samples: int | None = None

    @property
    def sound(self) -> bool:
        """Whether experiments may be made with it."""
        return self.verdict in SOUND


def check(name: str, data_dir: Path, progress: Progress = silence) -> Report:
    """Read every file of a known data set and compare it. Nothing is downloaded."""
    checks: Mapping[str, Callable[[Path, Progress], Report]] = {
        "digits": _check_digits,
        "mnist": lambda directory, told: _check_idx("mnist", directory, told),
        "fashion-mnist": lambda directory, told: _check_idx("fashion-mnist", directory, told),
        cifar.NAME: _check_cifar,
        cifar_jpeg.NAME: _check_jpeg,
        svhn.NAME: _check_svhn,
        sources.NIDD: _check_nidd,
    }
    return checks[name](data_dir, progress)


def unordered_digest(samples: Samples) -> str:
    """A digest of images and labels that does not depend on their order: SHA-256 of the sorted digests of each."""
    each = sorted(
        hashlib.blake2b(bytes([label]) + image.tobytes(), digest_size=16).digest()
        for image, label in zip(samples.images, samples.labels.tolist(), strict=True)
    )
    return hashlib.sha256(b"".join(each)).hexdigest()


def files_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """A digest of named files that does not depend on their order: SHA-256 of the sorted names and SHA-256s."""
    lines = sorted(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _check_digits(_: Path, __: Progress) -> Report:
    try:
        train, test = digits.load(KNOWN["digits"].spec.side)
    except DamagedDataError as error:
        return _report("digits", "damaged", str(error))
    return _report("digits", "published", "comes with the package", parts=(train, test))


def _check_idx(name: str, data_dir: Path, progress: Progress) -> Report:
    found = idx.locate(name, data_dir)
    if len(found) < len(idx.FILES):
        return _missing(name, data_dir, found, f"{len(found)} of {len(idx.FILES)} files are there")
    files = []
    for path in found:
        progress(f"checking {path}", 0, 0, "B")
        base = path.name.removesuffix(".gz")
        files.append(_compared(path, base, idx.content, KNOWN[name].files, _CONTENT_MD5[name]))
    return _judged(name, files, lambda: idx.load(name, data_dir, progress))


def _check_cifar(data_dir: Path, progress: Progress) -> Report:
    found = cifar.locate(data_dir)
    if found is None:
        return _missing(cifar.NAME, data_dir)
    form, path = found
    progress(f"checking {path}", 0, 0, "B")
    known = {file.sha256 for file in KNOWN[cifar.NAME].files} | {_PYTHON_ARCHIVE_SHA256}
    if path.is_file() and sha256_of(path) in known:
        files = [FileReport(str(path), "published")]
    else:
        expected = _CONTENT_MD5[cifar.NAME]
        try:
            files = [
                FileReport(
                    str(path / name if path.is_dir() else path),
                    ("published" if path.is_dir() else "repacked") if _md5(content) == expected[name] else "differs",
                    "" if path.is_dir() else name,
                )
                for name, content in cifar.batch_files(form, path)
            ]
        except DamagedDataError as error:
            files = [FileReport(str(path), "damaged", str(error))]
    return _judged(cifar.NAME, files, lambda: cifar.read(form, path, progress))


def _check_svhn(data_dir: Path, progress: Progress) -> Report:
    found = svhn.locate(data_dir)
    if len(found) < len(svhn.FILES):
        return _missing(svhn.NAME, data_dir, found, f"{len(found)} of {len(svhn.FILES)} files are there")
    files = []
    for path in found:
        progress(f"checking {path}", 0, 0, "B")
        published = any(file.name == path.name and file.sha256 == sha256_of(path) for file in KNOWN[svhn.NAME].files)
        files.append(FileReport(str(path), "published" if published else "differs"))
    return _judged(svhn.NAME, files, lambda: (svhn.read(found[0], progress), svhn.read(found[1], progress)))


def _check_nidd(data_dir: Path, progress: Progress) -> Report:
    found = sources.locate(data_dir)
    if not found:
        return _missing(sources.NIDD, data_dir)
    settings = NiddSettings(name="5g-nidd")
    try:
        made = sources.load(settings, data_dir, progress)
    except DataError as error:
        return _report(sources.NIDD, "damaged", str(error), [FileReport(str(path), "damaged") for path in found])
    published = made.title == KNOWN[sources.NIDD].title
    verdict: Verdict = "published" if published else "differs"
    note = _WORDS[verdict] if published else f"readable, in the published form, but {made.title}"
    return _report(sources.NIDD, verdict, note, [FileReport(str(path), verdict) for path in found], made.parts)


def _check_jpeg(data_dir: Path, progress: Progress) -> Report:
    path = cifar_jpeg.locate(data_dir)
    if path is None:
        return _missing(cifar_jpeg.NAME, data_dir)
    progress(f"checking {path}", 0, 0, "B")
    try:
        digest = files_digest((str(name), content) for name, content in cifar_jpeg.image_files(path))
        parts = cifar_jpeg.decode(path, progress)
    except DamagedDataError as error:
        return _report(cifar_jpeg.NAME, "damaged", str(error), [FileReport(str(path), "damaged")])
    whole = _counts_of(parts) == ([5_000] * 10, [1_000] * 10)
    if digest == _JPEG_DIGEST:
        note = "JPEG copies: lossy, so not the published pixels; the copies that this project's figures were made with"
    elif whole:
        note = (
            "JPEG copies: lossy, so not the published pixels; other copies than this project's figures were made with"
        )
    else:
        note = f"JPEG copies, but {_numbers(parts)}; CIFAR-10 has 5,000 + 1,000 of each of 10 classes"
    verdict: Verdict = "copy" if whole else "differs"
    return _report(cifar_jpeg.NAME, verdict, note, [FileReport(str(path), verdict)], parts)


def _compared(
    path: Path,
    base: str,
    content: Callable[[Path], bytes],
    published: Sequence[PublishedFile],
    expected: Mapping[str, str],
) -> FileReport:
    """A file, compressed or not, compared with the published one: first as it is, then what it holds."""
    if any(file.name == path.name and file.sha256 == sha256_of(path) for file in published):
        return FileReport(str(path), "published")
    try:
        held = content(path)
    except DamagedDataError as error:
        return FileReport(str(path), "damaged", str(error))
    if _md5(held) != expected[base]:
        return FileReport(str(path), "differs")
    how = "compressed by somebody else" if path.suffix == ".gz" else "not compressed"
    return FileReport(str(path), "repacked", f"the published content, {how}")


def _judged(name: str, files: Sequence[FileReport], read: Callable[[], Parts]) -> Report:
    """The verdict on a set from those on its files, and on its samples where the files are not the published ones."""
    verdict = max((file.verdict for file in files), key=_ORDER.index)
    if verdict == "damaged":
        note = next(file.note for file in files if file.verdict == "damaged")
        return _report(name, verdict, f"{note}; remove it, then: collab data fetch {name}", files)
    try:
        parts = read()
    except DamagedDataError as error:
        return _report(name, "damaged", f"{error}; remove it, then: collab data fetch {name}", files)
    if verdict in SOUND:
        return _report(name, verdict, _WORDS[verdict], files, parts)
    train, test = parts
    if (unordered_digest(train), unordered_digest(test)) == _UNORDERED.get(name):
        files = [
            FileReport(file.path, "reordered" if file.verdict == "differs" else file.verdict, file.note)
            for file in files
        ]
        return _report(name, "reordered", _WORDS["reordered"], files, parts)
    known = KNOWN[name]
    note = f"{_numbers(parts)}; readable, but not the published set"
    if (len(train), len(test)) != (known.train_samples, known.test_samples):
        note += f", which has {known.train_samples:,} + {known.test_samples:,}"
    return _report(name, "differs", note, files, parts)


_WORDS: Mapping[Verdict, str] = {
    "published": "the published files",
    "repacked": "the published content bit for bit, packed by somebody else",
    "reordered": "the published images and labels, in another order",
}


def _missing(name: str, data_dir: Path, found: Sequence[Path] = (), note: str = "") -> Report:
    where = " nor ".join(str(place) for place in places(name, data_dir))
    text = note if found else f"not in {where}"
    return _report(name, "missing", f"{text}; {how_to_get(name)}")


def _report(
    name: str, verdict: Verdict, note: str, files: Sequence[FileReport] = (), parts: Parts | None = None
) -> Report:
    train, test = (len(parts[0]), len(parts[1])) if parts is not None else (None, None)
    return Report(name, KNOWN[name].title, verdict, note, tuple(files), train, test)


def _numbers(parts: Parts) -> str:
    return f"{len(parts[0]):,} + {len(parts[1]):,} images"


def _counts_of(parts: Parts) -> tuple[list[int], list[int]]:
    train, test = (np.bincount(samples.labels, minlength=10).tolist() for samples in parts)
    return train, test


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
