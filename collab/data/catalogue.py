"""The known data sets: what they are, what every party may know of them, and where they are published.

Shapes, normalisation and augmentation strategies are those of the dataset-condensation literature (Zhao, Mopuri and
Bilen, ICLR 2021; Zhao and Bilen, ICML 2021). Sets of digits are not mirrored: a mirrored 2 is no digit; the code
published with the paper mirrors all sets, which a scenario asks for with `augmentation`.

The lengths and SHA-256 below were compared with the checksum lists of TensorFlow Datasets (SVHN: of torchvision's
prototype data sets) and with at least one more project that downloads the same files. The second mirror of CIFAR-10
was seen in a published project, but could not be tried where this was written; a wrong file from it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from collab.augment import OPERATIONS, Operation
from collab.data.dataset import Dataset, ImageSpec
from collab.data.download import PublishedFile

UPRIGHT: tuple[Operation, ...] = ("color", "crop", "cutout", "scale", "rotate")
"""The strategy of sets whose images mean something else, or nothing, when mirrored."""
ANY: tuple[Operation, ...] = OPERATIONS
"""The strategy of sets whose images may be mirrored."""


@dataclass(frozen=True, slots=True)
class Known:
    """A data set that has a name of its own.

    `title` is the name to show beside figures. `files` are what is downloaded of it, none if nothing is;
    `train_samples` and `test_samples` are the published numbers.
    """

    name: str
    title: str
    what: str
    spec: ImageSpec
    train_samples: int
    test_samples: int
    files: tuple[PublishedFile, ...] = ()


def _mirrored(folders: tuple[str, ...], *files: tuple[str, int, str]) -> tuple[PublishedFile, ...]:
    return tuple(
        PublishedFile(name, size, sha256, tuple(folder + name for folder in folders)) for name, size, sha256 in files
    )


_MNIST_FILES = _mirrored(
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ("train-images-idx3-ubyte.gz", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    ("train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ("t10k-images-idx3-ubyte.gz", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    ("t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)
_FASHION_FILES = _mirrored(
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    ("train-images-idx3-ubyte.gz", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    ("train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ("t10k-images-idx3-ubyte.gz", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    ("t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)
_CIFAR_FILES = _mirrored(
    (
        "https://www.cs.toronto.edu/~kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
    ("cifar-10-binary.tar.gz", 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
)
_SVHN_FILES = _mirrored(
    ("http://ufldl.stanford.edu/housenumbers/",),
    ("train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
    ("test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
)
_CIFAR_SPEC = ImageSpec(10, 3, 32, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), ANY)
_SVHN_SPEC = ImageSpec(10, 3, 32, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), UPRIGHT)

FLOW_SPEC = ImageSpec(2, 1, 64, (0.15,), (0.25,), ())
"""Images of flow records, whose settings say how many classes there are. The scale is a round one near that of traffic,
not measured: nobody has to ask the stations for it. What is cropped, turned or mirrored is no record any more.
"""

KNOWN: Mapping[str, Known] = {
    known.name: known
    for known in (
        Known(
            "digits", "digits", "small digits, in the package",
            ImageSpec(10, 1, 16, (0.3046,), (0.3185,), UPRIGHT), 1_297, 500,
        ),
        Known(
            "mnist", "MNIST", "handwritten digits",
            ImageSpec(10, 1, 28, (0.1307,), (0.3081,), UPRIGHT), 60_000, 10_000, _MNIST_FILES,
        ),
        Known(
            "fashion-mnist", "Fashion-MNIST", "pieces of clothing",
            ImageSpec(10, 1, 28, (0.2861,), (0.3530,), ANY), 60_000, 10_000, _FASHION_FILES,
        ),
        Known(
            "cifar10", "CIFAR-10", "animals and vehicles",
            _CIFAR_SPEC, 50_000, 10_000, _CIFAR_FILES,
        ),
        Known(
            "cifar10-jpeg", "CIFAR-10 (JPEG)", "CIFAR-10 (JPEG), lossy",
            _CIFAR_SPEC, 50_000, 10_000,
        ),
        Known(
            "svhn", "SVHN", "house numbers, no extra part",
            _SVHN_SPEC, 73_257, 26_032, _SVHN_FILES,
        ),
        Known(
            "5g-nidd", "5G-NIDD", "attacks in flow records",
            replace(FLOW_SPEC, classes=5), 10_338, 2_585,
        ),
    )
}  # fmt: skip


TITLES: Mapping[str, str] = {
    "5g-nidd-synthetic": "synthetic traffic (5G-NIDD's form)",
    "flow-csv": "flow records",
}
"""The names to show of sets whose shape their settings decide."""


def title_of(name: str) -> str:
    """The name to show beside figures: that of a known set, otherwise the name itself."""
    return KNOWN[name].title if name in KNOWN else TITLES.get(name, name)


def title_of_data(dataset: Dataset) -> str:
    """The name to show beside figures of data that was loaded, which may not be what its name promises."""
    return dataset.title or title_of(dataset.name)


def places(name: str, data_dir: Path) -> tuple[Path, ...]:
    """Where a set is looked for: in a folder of its name, then in the data directory itself.

    MNIST and Fashion-MNIST name their files alike, so those need their folders.
    """
    own = data_dir / name
    return (own,) if name in ("mnist", "fashion-mnist") else (own, data_dir)


def how_to_get(name: str) -> str:
    """What a user can do who lacks the set, as the end of a sentence."""
    directory = "set COLLAB_DATA_DIR to the directory that holds it"
    if name == "5g-nidd":
        return (
            f"it is published at doi:10.21227/xtep-hv36 (free, after a log-in); {directory}; synthetic traffic in its "
            "form needs no files: dataset.name: 5g-nidd-synthetic"
        )
    if not KNOWN[name].files:
        return f"it cannot be downloaded; {directory}"
    return f"where there is a network, fetch it with: collab data fetch {name}; or {directory}"
