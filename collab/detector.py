"""A network that was trained on a synthetic set, as a file that suffices on its own.

It is a file of networks (`collab.network_file`) with one network in it, `detector`, and one more entry in its metadata,
`detector`: `About` as JSON, that is what the classes are called, how the network was trained and on what, and the
recipe by which images are made of flow records. The same set and the same seed give the same file, bit for bit, on the
same type of device with the same number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from collab import network_file
from collab.complaints import first_complaint
from collab.compute import CPU, Device
from collab.data import ImageSpec
from collab.data.base_settings import Settings
from collab.data.flows.recipe import FlowRecipe
from collab.errors import DamagedDataError, DataError, RunDirectoryError
from collab.evaluation import EvaluationSettings, scores_of, trained
from collab.file_kinds import kind_of
from collab.nets import Network
from collab.network_file import KeptNetwork
from collab.synthetic_file import GlobalSet, Origin, Training, check_origin

FORM = "collab detector 1"
_NAME = "detector"


class About(Settings):
    """What is known of a detector beside its weights.

    Attributes:
        class_names: what its classes are called, in the order of its scores.
        training: how it was trained, on `images` images, from weights and in an order that `seed` draws.
        trained_on: where these came from; `trained_on.recipe` makes images of flow records.
    """

    form: Literal["collab detector 1"]
    class_names: tuple[str, ...] = Field(min_length=2)
    seed: int = Field(ge=0, lt=2**63)
    training: Training
    images: int = Field(ge=1)
    trained_on: Origin


@dataclass(frozen=True)
class Detector:
    """A trained network, what images it takes, and what is known of it."""

    network: Network
    images: ImageSpec
    about: About

    @property
    def recipe(self) -> FlowRecipe | None:
        """How images are made of flow records; None of a detector for other images."""
        return self.about.trained_on.recipe

    @property
    def benign_class(self) -> int | None:
        """The number of the class that is no attack; None if it is not known."""
        benign = self.about.trained_on.benign
        return None if benign is None else self.about.class_names.index(benign)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """How likely it holds each class to be, [n, classes], of images uint8 [n, channels, side, side]."""
        normalised = self.images.normalise(images, self.network.device.torch)
        scores = scores_of(self.network, normalised, self.network.spec)
        likely: NDArray[np.float32] = torch.softmax(scores.float(), dim=1).cpu().numpy()
        return likely


def train(whole: GlobalSet, training: Training, seed: int, device: Device = CPU) -> Detector:
    """Train a network on a synthetic set: the first that judging trains, if `training` and `seed` are those of the run.

    Raises `ScenarioError` for images that are too small for the network.
    """
    settings = EvaluationSettings(
        networks=(training.architecture,),
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    spec = training.network(whole.spec)
    network = trained(whole.synthetic, spec, training.augmentation, settings, seed, device)
    about = About(
        form=FORM,
        class_names=whole.class_names,
        seed=seed,
        training=training,
        images=len(whole.synthetic.images),
        trained_on=whole.origin,
    )
    return Detector(network, whole.spec, about)


def write(detector: Detector, path: Path) -> None:
    """Write the file.

    Raises `OSError` or `SafetensorError` if that cannot be, `DataError` for a detector that `read` would not take back.
    """
    kept = KeptNetwork(detector.network, detector.images)
    try:
        _check(detector.about, kept)
    except ValueError as error:
        raise DataError(f"the detector is not consistent: {error}") from error
    network_file.write({_NAME: kept}, path, {_NAME: detector.about.model_dump_json()})


def read(path: Path, device: Device = CPU) -> Detector:
    """The detector in a file.

    Raises `DataError` if there is none, or it is a file of another kind; `DamagedDataError` if it is not as `write`
    wrote it.
    """
    if path.is_dir():
        raise DataError(f"{path} is a directory, no detector; make one with: collab train-detector {path}")
    if not path.is_file():
        raise DataError(f"there is no file {path}; make one with: collab train-detector RUN --out {path}")
    _refuse_others(path)
    try:
        metadata = network_file.read_metadata(path)
        if _NAME not in metadata:
            raise DamagedDataError(
                f"{path} is no detector: its metadata have no {_NAME}; make one with: collab train-detector RUN"
            )
        about = About.model_validate_json(metadata[_NAME])
        kept = network_file.read(path)[_NAME]
        _check(about, kept)
    except RunDirectoryError as error:
        raise DamagedDataError(str(error)) from error
    except ValidationError as error:
        raise DamagedDataError(f"{path} is damaged: metadata, {_NAME}, {first_complaint(error)}") from error
    except KeyError as error:
        raise DamagedDataError(f"{path} is damaged: it has no network {error}") from error
    except ValueError as error:
        raise DamagedDataError(f"{path} is damaged: {error}") from error
    weights = [weight.to(device.torch) for weight in kept.network.parameters()]
    return Detector(Network(kept.network.spec, weights, device), kept.images, about)


def _refuse_others(path: Path) -> None:
    """Raises `DataError` for a synthetic set or text."""
    try:
        kind = kind_of(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if kind == "archive":
        raise DataError(
            f"{path} is an archive, a synthetic set perhaps, and no detector; make one of it with: "
            f"collab train-detector {path}"
        )
    if kind == "text":
        raise DataError(
            f"{path} is no detector but text, flow records perhaps; the detector, which collab train-detector makes, "
            "comes first: collab detect MODEL FLOWS.csv"
        )


def _check(about: About, kept: KeptNetwork) -> None:
    """Raises `ValueError` for a network that does not fit what is said of it."""
    names, spec, origin = about.class_names, kept.network.spec, about.trained_on
    if len(names) != spec.classes:
        raise ValueError(f"the network has {spec.classes} classes, expected one for each of {', '.join(names)}")
    check_origin(origin, names, spec.channels, spec.side)
