"""The global synthetic set of a run as a small file on which anybody can train: a .npz that numpy alone reads.

::

    images       float16 or float32 [n, channels, side, side], in units of pixels: 0 is black, 1 white. They were
                 optimised without bounds and may go beyond. Mosaics of partition-and-expand are cut and enlarged.
    labels       int64 [n], the class of each image
    class_names  text [classes]; the numbers, where classes have no names
    mean, std    float64 [channels]: networks are trained on (images - mean) / std
    about        text, JSON: `About`, that is where the set comes from, how judging trained on it, and the recipe that
                 makes images of flow records, if it is of such

No array is pickled (`numpy.load` with `allow_pickle=False`). The same set gives the same file, bit for bit.
"""

from __future__ import annotations

import hashlib
import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collab.augment import Operation
from collab.complaints import first_complaint
from collab.data import ImageSpec
from collab.data.base_settings import Settings
from collab.data.flows.recipe import FlowRecipe
from collab.errors import DamagedDataError, DataError, RunDirectoryError
from collab.evaluation_settings import EvaluationSettings
from collab.matching import SyntheticSet
from collab.nets import ArchitectureName, NetworkSpec
from collab.store import DATASET, SCENARIO, MethodRun, Run

FORM = "collab synthetic set 1"
Precision = Literal["float16", "float32"]
_ARRAYS = {
    "images": "[n, channels, side, side] in units of pixels, 0 black, 1 white; may go beyond",
    "labels": "[n], the class of each image",
    "class_names": "[classes]",
    "mean": "[channels], of pixels; networks are trained on (images - mean) / std",
    "std": "[channels], of pixels",
}
_MOST_BYTES = 256 * 10**6  # of all arrays, unpacked: a set of many thousand images; in use it takes a few times that
_ALL_OTHERS_BYTES = 16 * 10**6  # more than everything but the images takes
_PORTION = 64  # images
_UNREADABLE = (
    OSError, ValueError, EOFError, MemoryError, NotImplementedError, zlib.error, zipfile.BadZipFile,
    SyntaxError, tokenize.TokenError, RuntimeError,
)  # fmt: skip
"""What zipfile and numpy raise for files that are none, or damaged."""


class Training(Settings):
    """How a network is trained on a synthetic set; see `collab.evaluation`."""

    architecture: ArchitectureName
    width: int = Field(ge=1, le=4096)
    depth: int = Field(ge=1, le=5)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    augmentation: tuple[Operation, ...]

    def network(self, images: ImageSpec) -> NetworkSpec:
        """The network that such images train. Raises `ScenarioError` for images too small for it."""
        return NetworkSpec(self.width, self.depth, images.channels, images.side, images.classes, self.architecture)


class Origin(Settings):
    """Where a synthetic set comes from, and what is known of it.

    Attributes:
        dataset: its name in scenarios; `title` is that to show.
        run, method, scenario, scenario_sha256, seed: which run of what, the digest that of its scenario.yaml.
        expand: tiles a side of the mosaics that the images were cut from; 1 if they were none.
        accuracies: what networks reached on the run's test data that were trained on the set, by architecture.
        training: how judging trained the first of these.
        benign: the class that is no attack, in a set of traffic.
        recipe: how images are made of flow records, in a set of such.
    """

    dataset: str
    title: str
    run: str
    method: str
    scenario: str
    scenario_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    seed: int
    expand: int = Field(ge=1)
    accuracies: Mapping[str, float]
    training: Training
    benign: str | None
    recipe: FlowRecipe | None


class About(Origin):
    """What stands in the file as JSON: the origin, and what the arrays are."""

    form: Literal["collab synthetic set 1"]
    arrays: Mapping[str, str]


@dataclass(frozen=True)
class GlobalSet:
    """A synthetic set that is ready to be trained on: `synthetic` is expanded, in normalised space."""

    synthetic: SyntheticSet
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: Origin

    @property
    def spec(self) -> ImageSpec:
        """What its images are like."""
        channels, side = self.synthetic.images.shape[1:3]
        augmentation = self.origin.training.augmentation
        return ImageSpec(len(self.class_names), channels, side, self.mean, self.std, augmentation)

    @property
    def pixels(self) -> NDArray[np.float64]:
        """The images in units of pixels, [n, channels, side, side]."""
        wide = self.synthetic.images.cpu().numpy().astype(np.float64)
        return wide * _by_channel(self.std) + _by_channel(self.mean)


def _by_channel(values: tuple[float, ...]) -> NDArray[np.float64]:
    return np.array(values, np.float64).reshape(-1, 1, 1)


def packed(whole: GlobalSet, precision: Precision) -> bytes:
    """The content of the file.

    Raises `DataError` for values that the precision cannot hold, and for what `read` would not take back.
    """
    images_held = whole.synthetic.images
    size = images_held.numel() * np.dtype(precision).itemsize
    if size > _MOST_BYTES - _ALL_OTHERS_BYTES:
        raise DataError(f"{whole.origin.method}: the images are {size:,} bytes in {precision}, too many for a file")
    try:
        check_origin(whole.origin, whole.class_names, *images_held.shape[1:3])
    except ValueError as error:
        raise DataError(f"the set of {whole.origin.method} is not consistent: {error}") from error
    with np.errstate(over="ignore"):
        images = whole.pixels.astype(precision)
    if not np.isfinite(images).all():
        raise DataError(f"{whole.origin.method}: pixels of the synthetic set are no numbers that {precision} can hold")
    about = About(form=FORM, arrays=_ARRAYS, **dict(whole.origin))
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        images=images,
        labels=whole.synthetic.labels.cpu().numpy().astype(np.int64),
        class_names=np.array(whole.class_names),
        mean=np.array(whole.mean, np.float64),
        std=np.array(whole.std, np.float64),
        about=np.array(about.model_dump_json()),
    )
    return buffer.getvalue()


def read(path: Path) -> GlobalSet:
    """The set in a file. Raises `DataError` if there is none, `DamagedDataError` if it is not as `packed` made it."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; make one with: collab export-synthetic RUN --out {path}")
    try:
        return _checked(_arrays(path))
    except ValidationError as error:
        raise DamagedDataError(f"{path} is damaged: about, {first_complaint(error)}") from error
    except _UNREADABLE as error:
        raise DamagedDataError(
            f"{path} is damaged, or no synthetic set: {error}; make it with: collab export-synthetic"
        ) from error


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a file. Raises `ValueError` and what zipfile and numpy raise for damaged ones."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_BYTES:
            raise ValueError(f"it unpacks to {size:,} bytes, expected at most {_MOST_BYTES:,}")
        for member in archive.infolist():
            _check_header(archive, member)
        if (broken := archive.testzip()) is not None:
            raise ValueError(f"{broken} has another checksum than was written")
    with np.load(path, allow_pickle=False) as file:
        if missing := sorted({*_ARRAYS, "about"} - set(file.files)):
            raise ValueError(f"it has no {', '.join(missing)}")
        return {name: file[name] for name in (*_ARRAYS, "about")}


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raises `ValueError` for an array whose header promises other bytes than are there: memory is taken by it."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"{member.filename} has the format {version}, expected 1.0 or 2.0")
        held = member.file_size - file.tell()
    promised = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and promised != held:  # objects are refused as they are read
        raise ValueError(f"{member.filename} is to hold {promised:,} bytes by its header, found {held:,}")


def _checked(arrays: Mapping[str, NDArray[Any]]) -> GlobalSet:
    """Raises `ValidationError` for another `about`, `ValueError` for arrays that do not go together."""
    about = About.model_validate_json(str(arrays["about"]))
    images, labels, names = arrays["images"], arrays["labels"], arrays["class_names"]
    if images.dtype not in (np.float16, np.float32) or images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images are {_form(images)}, expected float16 or float32 [n, channels, side, side]")
    if not len(images):
        raise ValueError("there are no images")
    if not np.isfinite(images).all():
        raise ValueError("images have pixels that are no numbers")
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) < 2:
        raise ValueError(f"class_names are {_form(names)}, expected the names of two classes at least")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"labels are {_form(labels)}, expected int64 [{len(images)}]")
    if labels.min() < 0 or labels.max() >= len(names):
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}, expected 0 to {len(names) - 1}")
    for name in ("mean", "std"):
        values = arrays[name]
        if values.dtype != np.float64 or values.shape != images.shape[1:2] or not np.isfinite(values).all():
            raise ValueError(f"{name} is {_form(values)}, expected a number for each of {images.shape[1]} channels")
    if (arrays["std"] <= 0).any():
        raise ValueError("std is not above 0")
    class_names = tuple(map(str, names))
    check_origin(about, class_names, *images.shape[1:3])
    mean, std = (tuple(map(float, arrays[name])) for name in ("mean", "std"))
    synthetic = SyntheticSet(torch.from_numpy(_normalised(images, mean, std)), torch.from_numpy(labels))
    origin = Origin.model_validate(about.model_dump(exclude={"form", "arrays"}))
    return GlobalSet(synthetic, class_names, mean, std, origin)


def check_origin(origin: Origin, class_names: tuple[str, ...], channels: int, side: int) -> None:
    """Whether what is said of a set, or of a network that it trained, fits its classes and its images.

    Raises `ValueError` for a benign class that is none, and for a recipe of other classes or that makes other images.
    """
    if origin.benign is not None and origin.benign not in class_names:
        raise ValueError(f'benign is "{origin.benign}", expected one of {", ".join(class_names)}')
    recipe = origin.recipe
    if recipe is None:
        return
    if recipe.format.label is not None and recipe.format.class_names != class_names:
        raise ValueError(
            f"its classes are {', '.join(class_names)}, those of its recipe {', '.join(recipe.format.class_names)}"
        )
    if (channels, side) != (1, recipe.side):
        raise ValueError(f"its images are {channels}x{side}x{side}, the recipe makes 1x{recipe.side}x{recipe.side}")


def _normalised(images: NDArray[Any], mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """Pixels brought to what networks take: exactly, and in portions, as double precision takes twice the memory."""
    normalised = np.empty(images.shape, np.float32)
    for first in range(0, len(images), _PORTION):
        part = slice(first, first + _PORTION)
        normalised[part] = (images[part].astype(np.float64) - _by_channel(mean)) / _by_channel(std)
    return normalised


def _form(values: NDArray[Any]) -> str:
    return f"{values.dtype} {list(values.shape)}"


# -- from a run ----------------------------------------------------------------------------------


class _Dataset(BaseModel):
    """What a run directory says of its data, as far as the set needs it; see `collab.results.described_dataset`."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    class_names: tuple[str, ...]
    benign: int | None
    classes: int = Field(ge=2)
    channels: int
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: tuple[Operation, ...]
    recipe: FlowRecipe | None

    @property
    def names(self) -> tuple[str, ...]:
        return self.class_names or tuple(map(str, range(self.classes)))


def of_run(run: Run, method: str) -> GlobalSet:
    """The synthetic set that a method of a run yielded.

    Raises `DataError` if it yielded none, `RunDirectoryError` if the directory is damaged or of an older version.
    """
    again = f"run it again: collab run {run.path / SCENARIO}"
    if run.dataset is None:
        raise RunDirectoryError(f"{run.path} was written by an older version, which kept no {DATASET}; {again}")
    recorded = MethodRun(method, run.path / method)
    arrays = recorded.images
    if "images" not in arrays:
        raise DataError(f"{method} of {run.path} yields a network, no synthetic set; {_others(run)}")
    try:
        dataset = _Dataset.model_validate(run.dataset)
        origin = _origin(run, recorded, dataset)
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
        if images.shape[1:] != (dataset.channels, dataset.side, dataset.side) or len(images) != len(labels):
            raise ValueError(f"{method} has images {list(images.shape)} and labels {list(labels.shape)}")
        check_origin(origin, dataset.names, dataset.channels, dataset.side)
        synthetic = SyntheticSet(images, labels, origin.expand).expanded()
    except (KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(f"{run.path} is damaged: {' '.join(str(error).split())}; {again}") from error
    return GlobalSet(synthetic, dataset.names, dataset.mean, dataset.std, origin)


def _others(run: Run) -> str:
    rows = run.summary["methods"]
    yielding = [name for name in rows if rows[name]["yields"] == "synthetic set"]
    return f"choose with --method: {', '.join(yielding)}" if yielding else "nor does any other method of the run"


def _origin(run: Run, method: MethodRun, dataset: _Dataset) -> Origin:
    """Raises `KeyError`, `TypeError` and `ValueError` for a directory that is damaged."""
    scenario = run.scenario
    settings = next(each for each in (scenario["method"], *scenario["baselines"]) if each["name"] == method.name)
    judging = EvaluationSettings.model_validate(scenario["evaluation"])
    training = Training(
        architecture=judging.networks[0],
        width=judging.width or settings["width"],
        depth=settings["depth"],
        epochs=judging.epochs,
        batch_size=judging.batch_size,
        learning_rate=judging.learning_rate,
        momentum=judging.momentum,
        weight_decay=judging.weight_decay,
        augmentation=dataset.augmentation if judging.augment else (),
    )
    judged = run.summary["methods"][method.name]["accuracies"]
    return Origin(
        dataset=dataset.name,
        title=dataset.title,
        run=run.path.resolve().name,
        method=method.name,
        scenario=scenario["name"],
        scenario_sha256=hashlib.sha256((run.path / SCENARIO).read_bytes()).hexdigest(),
        seed=scenario["seed"],
        expand=method.outcome["expand"],
        accuracies={name: judged[name]["mean"] for name in judging.networks},
        training=training,
        benign=None if dataset.benign is None else dataset.names[dataset.benign],
        recipe=dataset.recipe,
    )
