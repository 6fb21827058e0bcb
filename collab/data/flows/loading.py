"""From files of flow records to labelled images of a training and a test part.

What is held in memory is the images, 4 kB each, and never the flows; where their scale is that of the training flows,
the files are read twice. More images than `most_images` are thinned out while reading: every second window of each
class and station is left out, then every second of the rest, and so on, so that a file of any size can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collab.data.dataset import Samples
from collab.data.flows.flow_format import FlowFormat
from collab.data.flows.reading import FlowBatch, read_flows
from collab.data.flows.recipe import EVERYWHERE, FlowRecipe, Range
from collab.data.flows.settings import FlowSettings
from collab.data.flows.splits import Origins, judging
from collab.data.flows.windows import Windows, windows_of
from collab.data.progress import Progress, silence
from collab.document import nearest
from collab.errors import DamagedDataError, DataError

_PORTION = 2048
_MOST_NAMED = 5
_ORIGINS = ("classes", "attacks", "stations", "sessions", "rows")
Described = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class FlowImages:
    """The images of a training and a test part, which know their stations, and how they were made.

    `left_out` are sentences on what of the files is not in them, though one might expect it.
    """

    train: Samples
    test: Samples
    recipe: FlowRecipe
    left_out: tuple[str, ...] = ()


def load_flows(
    paths: Sequence[Path],
    form: FlowFormat,
    settings: FlowSettings,
    *,
    flows: int | None = None,
    progress: Progress = silence,
) -> FlowImages:
    """Images of all flows of the files, divided as `settings` say; `flows` is how many there must be, if known.

    Raises `DataError` for files, or settings, of which no data set can be made, `DamagedDataError` for a file that
    cannot be read.
    """
    _check_unseen(form, settings)
    recipe = FlowRecipe(
        format=form, layout=settings.layout, side=settings.side, windows=settings.windows, pixels=settings.pixels,
        blank=tuple(f.column for f in form.features if f.leaks) if settings.leaking_columns == "blank" else (),
        ranges={EVERYWHERE: tuple(feature.known_range or (0.0, 1.0) for feature in form.features)},
    )  # fmt: skip
    source = paths[0].name if len(paths) == 1 else f"{len(paths)} files"
    names, left_out = list[str](), list[str]()

    def read(describe: Callable[[Windows], Described]) -> dict[str, NDArray[Any]]:
        batches = _named(read_flows(paths, form, flows=flows, progress=progress), names, source)
        windows = windows_of(
            batches, form, recipe.flows_per_image, settings.windows, across_sessions=settings.split == "random"
        )
        return _kept(windows, describe, settings.most_images, len(form.attacks), source, left_out)

    if settings.scaling == "ranges":
        _check_ranges(form)
        found = read(lambda windows: {"images": recipe.render(windows.values)})
    else:
        found = read(_extremes)
    origins = Origins(*(found[name] for name in _ORIGINS))
    _check_classes(form, origins, recipe, source, settings)
    left_out += _stations_left_out(names, origins, recipe, source)
    tested = judging(origins, settings.split, settings.test_share, settings.split_seed, source)
    left_out += _unjudged(form, origins, tested, settings, source)
    trained = ~tested & ~_unseen(form, found["held"], origins.stations, names, settings)
    if settings.scaling != "ranges":
        recipe = recipe.model_copy(
            update={"ranges": _ranges(form, found, origins, trained, names, settings.scaling, source)}
        )
        found = read(lambda windows: {"images": _rendered(recipe, windows, names)})
    sites = np.array(names, np.str_)[origins.stations]
    train, test = (Samples(found["images"][part], origins.classes[part], sites[part]) for part in (trained, tested))
    _check_training(form, train, source)
    return FlowImages(train, test, recipe, tuple(dict.fromkeys(left_out)))


def _named(batches: Iterator[FlowBatch], names: list[str], source: str) -> Iterator[FlowBatch]:
    """All of them; `names` becomes those of the stations met. Raises `DamagedDataError` if there are none."""
    for batch in batches:
        names[:] = batch.station_names
        yield batch
    if not names:
        raise DamagedDataError(f"{source}: found no flows, only a header")


def _kept(
    windows: Iterator[Windows],
    describe: Callable[[Windows], Described],
    most: int,
    attacks: int,
    source: str,
    left_out: list[str],
) -> dict[str, NDArray[Any]]:
    """What `describe` says of the windows, and their origins, in order of stations and rows; thinned out if many."""
    stride, seen, kept = 1, dict[int, int](), _Kept()
    for found in windows:
        facts = {
            "ordinal": _ordinals(found.stations * attacks + found.attacks, seen),
            **{name: getattr(found, name) for name in (*_ORIGINS, "held")},
            **describe(found),
        }
        kept.add(_every(facts, stride))
        while kept.total > most:
            if stride > max(seen.values()):
                raise DataError(
                    f"{source}: there are more kinds of traffic, counted by station, than dataset.most_images allows "
                    f"({most:,}); use a larger one, or say in the mapping what a station is"
                )
            stride *= 2
            kept.thin_out(stride)
    if stride > 1:
        left_out.append(f"{source} gives more than {most:,} images: one of {stride} is used (dataset.most_images)")
    return kept.sorted()


class _Kept:
    """Facts of windows, in few arrays: parts of some windows each would take more memory than their images."""

    def __init__(self) -> None:
        self.total = 0
        self._whole: list[dict[str, NDArray[Any]]] = []
        self._new: list[dict[str, NDArray[Any]]] = []
        self._fresh = 0  # windows in `_new`

    def add(self, facts: dict[str, NDArray[Any]]) -> None:
        """Some more."""
        size = len(facts["ordinal"])
        if not size:
            return
        self._new.append(facts)
        self.total, self._fresh = self.total + size, self._fresh + size
        if self._fresh >= _PORTION:
            self._settle()

    def thin_out(self, stride: int) -> None:
        """Of each kind only every `stride`-th is left."""
        self._settle()
        self._whole = [_every(part, stride) for part in self._whole]
        self.total = sum(len(part["ordinal"]) for part in self._whole)

    def sorted(self) -> dict[str, NDArray[Any]]:
        """All of them, in order of stations and rows; nothing is left here."""
        self._settle()
        if not self._whole:
            return {name: np.zeros(0, np.int64) for name in _ORIGINS}
        order = np.lexsort([np.concatenate([part[name] for part in self._whole]) for name in ("rows", "stations")])
        places = np.empty(self.total, np.int64)
        places[order] = np.arange(self.total)
        return {name: self._laid_out(name, places) for name in list(self._whole[0])}

    def _laid_out(self, name: str, places: NDArray[np.int64]) -> NDArray[Any]:
        """The values of one name, each at its place; parts are let go of one by one, as two copies may be too much."""
        first, start = self._whole[0][name], 0
        laid = np.empty((self.total, *first.shape[1:]), first.dtype)
        for part in self._whole:
            values = part.pop(name)
            laid[places[start : start + len(values)]] = values
            start += len(values)
        return laid

    def _settle(self) -> None:
        if self._new:
            self._whole.append({name: np.concatenate([part[name] for part in self._new]) for name in self._new[0]})
        self._new, self._fresh = [], 0


def _ordinals(keys: NDArray[np.int64], seen: dict[int, int]) -> NDArray[np.int64]:
    """The how-manieth window each is of its key, counted on over calls in `seen`."""
    ordinals = np.empty(len(keys), np.int64)
    for key in np.unique(keys).tolist():
        own = np.flatnonzero(keys == key)
        ordinals[own] = seen.get(key, 0) + np.arange(len(own))
        seen[key] = seen.get(key, 0) + len(own)
    return ordinals


def _every(facts: dict[str, NDArray[Any]], stride: int) -> dict[str, NDArray[Any]]:
    kept = facts["ordinal"] % stride == 0
    return facts if kept.all() else {name: values[kept] for name, values in facts.items()}


# -- scales of the training flows ----------------------------------------------------------------


def _extremes(windows: Windows) -> Described:
    """The smallest and the largest finite value of each feature in each window; infinite where there is none."""
    known = np.isfinite(windows.values)
    return {
        "low": windows.values.min(axis=1, where=known, initial=np.inf),
        "high": windows.values.max(axis=1, where=known, initial=-np.inf),
    }


def _ranges(
    form: FlowFormat,
    found: Described,
    origins: Origins,
    trained: NDArray[np.bool_],
    names: Sequence[str],
    scaling: str,
    source: str,
) -> dict[str, tuple[Range, ...]]:
    """Of each feature of numbers the ends that the training windows have, of text the codes."""
    parts = {EVERYWHERE: trained}
    if scaling == "station":
        met = {name: origins.stations == index for index, name in enumerate(names)}
        parts = {name: trained & own for name, own in met.items() if own.any()}
        lacking = [name for name, own in parts.items() if not own.any()]
        if lacking:
            raise DataError(
                f"{source}: {_listed(lacking)} would have no training images to take a scale from; use "
                "dataset.scaling: ranges"
            )
    ranges = {}
    for name, part in parts.items():
        low, high = (found[end][part] for end in ("low", "high"))
        own = []
        for index, feature in enumerate(form.features):
            if feature.is_text:
                own.append(feature.known_range or (0.0, 1.0))
                continue
            ends = float(low[:, index].min(initial=np.inf)), float(high[:, index].max(initial=-np.inf))
            own.append(ends if ends[0] <= ends[1] else (0.0, 0.0))
        ranges[name] = tuple(own)
    return ranges


def _rendered(recipe: FlowRecipe, windows: Windows, names: Sequence[str]) -> NDArray[np.uint8]:
    """Images of windows, each on the scale of its station."""
    images = np.empty((len(windows), 1, recipe.side, recipe.side), np.uint8)
    for station in np.unique(windows.stations).tolist():
        own = windows.stations == station
        images[own] = recipe.render(windows.values[own], names[station])
    return images


# -- what cannot be ------------------------------------------------------------------------------


def _check_ranges(form: FlowFormat) -> None:
    lacking = [feature.column for feature in form.features if feature.known_range is None]
    if lacking:
        raise DataError(
            f"the mapping {form.name} gives no range for {', '.join(lacking)}; give it one that holds everywhere, or "
            "use dataset.scaling: station, which takes each station's own"
        )


def _check_classes(form: FlowFormat, origins: Origins, recipe: FlowRecipe, source: str, settings: FlowSettings) -> None:
    empty = _without_images(form, origins.classes)
    if empty:
        what = f"{source}: {_listed(empty)} {'is an empty class' if len(empty) == 1 else 'are empty classes'}"
        flows = recipe.flows_per_image
        if recipe.windows == "label":
            where = "" if settings.split == "random" else " in one capture session"
            raise DataError(
                f"{what}: no station has {flows} flows of one kind of it{where}, which an image takes; leave it out of "
                "the classes, or make images of fewer flows (dataset.side)"
            )
        raise DataError(
            f"{what}: in no window of {flows} flows are most of it; make images of fewer flows (dataset.side), leave "
            "it out of the classes, or use dataset.windows: label"
        )


def _stations_left_out(names: Sequence[str], origins: Origins, recipe: FlowRecipe, source: str) -> Iterator[str]:
    """A sentence on stations whose flows are too few for an image, if there are any."""
    lacking = [name for index, name in enumerate(names) if not (origins.stations == index).any()]
    if lacking:
        shown = lacking[:_MOST_NAMED] + ([f"{len(lacking) - _MOST_NAMED:,} more"] if len(lacking) > _MOST_NAMED else [])
        yield (
            f"{source}: too few flows for an image, which takes {recipe.flows_per_image}, of {_listed(shown)}: no part "
            f"is taken by {'it' if len(lacking) == 1 else 'them'}"
        )


def _check_training(form: FlowFormat, train: Samples, source: str) -> None:
    empty = _without_images(form, train.labels)
    if empty:
        raise DataError(
            f"{source}: no image of {_listed(empty)} is left to learn from: all of them judge, or are unseen; use a "
            "smaller dataset.test_share, another split_seed, or leave a station that has seen it"
        )


def _check_unseen(form: FlowFormat, settings: FlowSettings) -> None:
    known = (*form.class_names, *form.attacks)
    for station, names in settings.unseen.items():
        for name in names:
            if name not in known:
                raise DataError(f'dataset.unseen.{station}: there is no class or attack "{name}"{nearest(name, known)}')


def _unjudged(
    form: FlowFormat, origins: Origins, tested: NDArray[np.bool_], settings: FlowSettings, source: str
) -> Iterator[str]:
    """Sentences on classes that no image judges, and on captures that are more than the share asked for."""
    lacking = _without_images(form, origins.classes[tested])
    if lacking:
        pronoun = "it" if len(lacking) == 1 else "them"
        yield f"{source}: no image of {_listed(lacking)} judges; no accuracy says anything about {pronoun}"
    if settings.split == "sessions" and tested.mean() > settings.test_share + 0.01:
        yield (
            f"{source}: {tested.mean():.0%} of the images judge, not {settings.test_share:.0%}: whole captures, at "
            "least one with each class"
        )


def _unseen(
    form: FlowFormat,
    held: NDArray[np.bool_],
    stations: NDArray[np.int64],
    names: Sequence[str],
    settings: FlowSettings,
) -> NDArray[np.bool_]:
    """Whether a window holds any flow of what its station is not to have seen, from the attacks that occur in each,
    bool [n, attacks]. Raises `DataError` for an unknown station.
    """
    hidden = np.zeros(len(held), bool)
    for station, attacks in settings.unseen.items():
        if station not in names:
            raise DataError(f'dataset.unseen: there is no station "{station}"{nearest(station, list(names))}')
        own = stations == names.index(station)
        for name in attacks:
            of_class = np.array(form.class_of_attack) == (
                form.class_names.index(name) if name in form.class_names else -1
            )
            hidden |= own & held[:, of_class | (np.array(form.attacks) == name)].any(axis=1)
    return hidden


def _without_images(form: FlowFormat, labels: NDArray[np.int64]) -> list[str]:
    """The classes that none of the images is of."""
    held = set(labels.tolist())
    return [name for label, name in enumerate(form.class_names) if label not in held]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + f" and {names[-1]}"
