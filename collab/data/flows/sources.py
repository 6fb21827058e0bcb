"""Where the flow records of a data set are, and what they are called: published, synthetic, or a user's own."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from collab.data.catalogue import FLOW_SPEC, TITLES, how_to_get
from collab.data.dataset import ImageSpec
from collab.data.decoded import Parts, cache_directories, decoded_with_note
from collab.data.download import sha256_of
from collab.data.flows.flow_format import BUILT_IN, FlowFormat, Station, published_format, read_format
from collab.data.flows.loading import load_flows
from collab.data.flows.recipe import FlowRecipe
from collab.data.flows.settings import FlowCsvSettings, FlowSettings, NiddSettings, SyntheticNiddSettings
from collab.data.flows.synthetic import README_NAME, TITLE, write_traffic
from collab.data.progress import Progress, silence
from collab.errors import DataError

NIDD = "5g-nidd"
_LOG = logging.getLogger(__name__)
COMBINED = "Combined.csv"
COMBINED_SHA256 = "fa36f80859585f474504ca69eb951a079b35145537976c86b00aae3aab46ee59"
STATION_FILES = ("BTS_1.csv", "BTS_2.csv")
PUBLISHED_FLOWS = 1_215_890
SYNTHETIC_TITLE = TITLES["5g-nidd-synthetic"]
_EXTENSIONS = (".csv", ".log", ".tsv")


@dataclass(frozen=True)
class FlowData:
    """Images of flow records, their recipe, and what to call them beside figures."""

    parts: Parts
    recipe: FlowRecipe
    title: str


@dataclass(frozen=True)
class _Source:
    paths: Sequence[Path]
    form: FlowFormat
    title: str
    flows: int | None = None
    sha256: str | None = None
    """Of the only file, if a published one is known."""


def load(
    settings: NiddSettings | SyntheticNiddSettings | FlowCsvSettings, data_dir: Path, progress: Progress = silence
) -> FlowData:
    """The images of a data set of flow records, from the cache or made of its files.

    Raises `DataError` if files are missing or no data set can be made of them, `DamagedDataError` for one that cannot
    be read.
    """
    source = _source(settings, data_dir, progress)

    def decode() -> tuple[Parts, str]:
        made = load_flows(source.paths, source.form, settings, flows=source.flows, progress=progress)
        recipe = made.recipe.model_dump(mode="json")
        note = {"recipe": recipe, "published": _is_published(source, progress), "left_out": made.left_out}
        return (made.train, made.test), json.dumps(note)

    told_apart = settings.model_dump_json(exclude={"train_samples", "test_samples", "augmentation"})
    variant = f"{told_apart} {source.form.model_dump_json()}"
    parts, note = decoded_with_note(settings.name, source.paths, data_dir, decode, variant)
    kept = json.loads(note)
    for sentence in kept["left_out"]:
        _LOG.warning("%s", sentence)
    return FlowData(parts, FlowRecipe.model_validate(kept["recipe"]), _title(source, published=kept["published"]))


def _source(
    settings: NiddSettings | SyntheticNiddSettings | FlowCsvSettings, data_dir: Path, progress: Progress
) -> _Source:
    match settings:
        case NiddSettings():
            return _published(settings, data_dir)
        case SyntheticNiddSettings():
            return _source_of_synthetic(settings, data_dir, progress)
        case FlowCsvSettings():
            paths = own_files(settings.path, data_dir)
            form = own_format(settings.mapping, paths[0].parent)
            return _Source(paths, form, f"flow records ({form.name})")


# -- 5G-NIDD -------------------------------------------------------------------------------------


def locate(data_dir: Path) -> tuple[Path, ...]:
    """The published files that are there: `Combined.csv`, else those of the stations."""
    for folder in (data_dir / NIDD, data_dir):
        if (folder / COMBINED).is_file():
            return (folder / COMBINED,)
        found = tuple(folder / name for name in STATION_FILES if (folder / name).is_file())
        if found:
            return found
    return ()


def published_shape(settings: NiddSettings) -> tuple[ImageSpec, int, int]:
    """Of the published files, before they are seen: the images, and about how many train and judge.

    Raises `DataError` for a layout that has no room for a flow.
    """
    form = grouped(published_format(BUILT_IN), settings.classes)
    return shape_of(form, settings, PUBLISHED_FLOWS // form.flows_per_image(settings.side, settings.layout))


def shape_of(form: FlowFormat, settings: FlowSettings, images: int) -> tuple[ImageSpec, int, int]:
    """What images of such flows are like, and how many of so many train and judge."""
    tested = round(settings.test_share * images)
    return spec_of(form, settings.side), images - tested, tested


def spec_of(form: FlowFormat, side: int) -> ImageSpec:
    """What everybody knows of images of such flows."""
    return replace(FLOW_SPEC, classes=len(form.class_names), side=side)


def grouped(form: FlowFormat, classes: Literal["paper", "all", "two"]) -> FlowFormat:
    """The format with its flows in the paper's classes, each kind of traffic by itself, or benign and malicious."""
    if classes == "paper":
        return form
    attacks = sorted(form.attacks)
    if classes == "all":
        return form.with_classes({name: (name,) for name in attacks}, "Benign")
    malicious = tuple(name for name in attacks if name != "Benign")
    return form.with_classes({"Benign": ("Benign",), "Malicious": malicious}, "Benign")


def _published(settings: NiddSettings, data_dir: Path) -> _Source:
    paths = locate(data_dir)
    form = grouped(published_format(BUILT_IN), settings.classes)
    if not paths:
        names = f"{COMBINED}, nor {' and '.join(STATION_FILES)}"
        raise DataError(f"5G-NIDD: there is no {names} in {data_dir / NIDD}; {how_to_get(NIDD)}")
    if paths[0].name == COMBINED:
        return _Source(paths, form, "5G-NIDD", PUBLISHED_FLOWS, COMBINED_SHA256)
    if len(paths) < len(STATION_FILES):
        lacking = next(name for name in STATION_FILES if name not in [path.name for path in paths])
        raise DataError(f"5G-NIDD: {paths[0]} is there, but not {lacking}; put it beside it, or {COMBINED}")
    by_file = form.model_copy(update={"station": Station(file=True)})
    return _Source(paths, by_file, "5G-NIDD (files of stations, whose checksums are not known)", PUBLISHED_FLOWS)


def _is_published(source: _Source, progress: Progress) -> bool:
    """Whether the file has the published checksum; false if none is known."""
    if source.sha256 is None:
        return False
    progress(f"checking {source.paths[0].name}", 0, 0, "B")
    return sha256_of(source.paths[0]) == source.sha256


def _title(source: _Source, *, published: bool) -> str:
    """What to call the data: by the published name only what is published, if that can be known.

    What is said beside the files can change while they do not, so it is read each time.
    """
    if published:
        return source.title
    folders = {folder for path in source.paths for folder in (path.parent, path.resolve().parent)}
    if any(map(_says_synthetic, folders)):
        return SYNTHETIC_TITLE
    if source.sha256 is None:
        return source.title
    return f"flow records in {source.title}'s form (not the published file)"


def _says_synthetic(folder: Path) -> bool:
    """Whether the files of a folder were written by `collab.data.flows.synthetic`, which says so beside them."""
    try:
        return (folder / README_NAME).read_text(encoding="utf-8").lower().startswith(TITLE)
    except (OSError, UnicodeDecodeError):
        return False


# -- the stand-in --------------------------------------------------------------------------------


def _source_of_synthetic(settings: SyntheticNiddSettings, data_dir: Path, progress: Progress) -> _Source:
    form = grouped(published_format(BUILT_IN), settings.classes)
    return _Source((synthetic_file(settings, data_dir, progress),), form, SYNTHETIC_TITLE)


def synthetic_folder(settings: SyntheticNiddSettings) -> str:
    """The name of the folder of a file of synthetic traffic: other arguments, other names."""
    share = repr(settings.share).removesuffix(".0")
    return f"{settings.name}-{settings.traffic_seed}-{share}-{settings.stations}"


def synthetic_file(settings: SyntheticNiddSettings, data_dir: Path, progress: Progress = silence) -> Path:
    """The file of synthetic traffic, written if it is not there. Raises `DataError` if it cannot be written."""
    failures = []
    for directory in cache_directories(data_dir):
        try:
            return write_traffic(
                directory / synthetic_folder(settings),
                seed=settings.traffic_seed,
                share=settings.share,
                stations=settings.stations,
                progress=progress,
            )
        except DataError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            failures.append(str(error))
    raise DataError("; ".join(failures))


# -- a user's own --------------------------------------------------------------------------------


def own_files(named: str, data_dir: Path) -> tuple[Path, ...]:
    """The file, or those of the folder in the order of their names. Raises `DataError` if there is none."""
    given = Path(named).expanduser()
    candidates = [given] if given.is_absolute() else [Path.cwd() / given, data_dir / given]
    for candidate in candidates:
        if candidate.is_file():
            return (candidate,)
        if candidate.is_dir():
            found = tuple(sorted(path for path in candidate.iterdir() if path.suffix.lower() in _EXTENSIONS))
            if not found:
                raise DataError(f"flow-csv: {candidate} holds no file ending in {', '.join(_EXTENSIONS)}")
            return found
    tried = " nor ".join(map(str, candidates))
    raise DataError(
        f"flow-csv: there is no {tried}; give dataset.path, absolute or from the current directory, the scenario's, or "
        "the one that COLLAB_DATA_DIR names"
    )


def has_own_files(named: str, data_dir: Path) -> bool:
    """Whether `own_files` would find any."""
    try:
        return bool(own_files(named, data_dir))
    except DataError:
        return False


def own_format(named: str, beside: Path) -> FlowFormat:
    """The mapping in a YAML file, from here or beside the flows; `nidd` is the one that comes with the package."""
    if named == BUILT_IN:
        return published_format(named)
    given = Path(named).expanduser()
    for candidate in [given] if given.is_absolute() else [Path.cwd() / given, beside / given]:
        if candidate.is_file():
            return read_format(candidate)
    raise DataError(f"flow-csv: there is no mapping {Path.cwd() / given} nor {beside / given}; give dataset.mapping")
