r"""What the columns of a file of flow records are: the mapping that a user writes in YAML, and the published ones.

::

    name: zeek-conn
    header: fields                  # a line "#fields<tab>ts<tab>uid...", as Zeek has it; or first: the first line
    separator: "\t"
    comments: "#"                   # lines that begin so are passed over
    missing: ["-", "(empty)"]
    features:                       # what becomes an image, in this order
      - {column: duration, range: [0, 3600], scale: log}
      - {column: proto, values: [icmp, tcp, udp]}
    label:
      column: label                 # or rules, see `LabelRule`
      classes: {benign: [Benign], scan: [PortScan, "Port sweep"]}
    benign: benign
    station: {column: sensor}       # or {file: true}, or {restarts: column}: a new station where the count begins anew
    session: {falls: Offset}        # or {column: ...}: captures that were made one after the other

A feature of numbers has a `range` that everybody knows, and a `scale`: `log` is log(1 + x). One of text has `values`,
numbered from 1 in this order; any other text counts as one more value. What is missing is 0, black.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, field_validator, model_validator

from collab.complaints import explain
from collab.data.base_settings import Settings
from collab.document import Document, PlacedError
from collab.errors import DataError, ScenarioError

BUILT_IN = "nidd"
"""The mapping that comes with the package: the columns of 5G-NIDD."""
Word = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    BeforeValidator(lambda given: str(given) if type(given) is int else given),
]
"""A text as it is compared: blanks around it, here and in the file, do not count. In YAML 80 is as good as "80"."""


class Feature(Settings):
    """A column that becomes a value of the image: of numbers with a `range`, or of text with `values`."""

    column: Word = Field(description="its name in the file")
    range: tuple[float, float] | None = Field(None, description="what becomes black and white; clipped beyond")
    scale: Literal["linear", "log"] = Field("linear", description="log is log(1 + x), for what spans magnitudes")
    values: tuple[Word, ...] = Field((), description="the texts of the column, coded 1, 2, ... in this order")
    leaks: bool = Field(False, description="gives the class away; dataset.leaking_columns: blank leaves it out")

    @model_validator(mode="after")
    def _check(self) -> Feature:
        if self.values:
            if self.range is not None or self.scale != "linear":
                raise PlacedError(f"{self.column} has values, so it is text; range and scale are for numbers", "values")
            if len(set(self.values)) < len(self.values):
                raise PlacedError(f"a value of {self.column} is listed twice", "values")
        elif self.range is not None:
            low, high = self.range
            if not low < high:
                raise PlacedError(f"found {low:g} to {high:g}; expected the lower end first", "range")
            if self.scale == "log" and low < 0:
                raise PlacedError(f"log(1 + x) has no place for {low:g}; expected 0 or more, or scale: linear", "range")
        return self

    @property
    def is_text(self) -> bool:
        """Whether the column holds words."""
        return bool(self.values)

    @property
    def known_range(self) -> tuple[float, float] | None:
        """The range that everybody knows: of text, its codes; None if the mapping gives none."""
        return (0.0, float(len(self.values) + 1)) if self.values else self.range


class LabelRule(Settings):
    """Which flows are of a class by what stands in their columns: of every column one of the texts."""

    when: Mapping[Word, Annotated[tuple[Word, ...], Field(min_length=1)]] = Field(
        min_length=1, description="column -> texts, of which it holds one"
    )
    label: Word = Field(description="what the flow then is, one of classes")


class Label(Settings):
    """What a flow is: a column says it, or rules do, of which the first that fits holds."""

    column: Word | None = Field(None, description="the column that says it")
    rules: tuple[LabelRule, ...] = Field((), description="the first that fits says it")
    otherwise: Word | None = Field(None, description="what a flow is that no rule fits")
    classes: Mapping[Word, Annotated[tuple[Word, ...], Field(min_length=1)]] = Field(
        min_length=2, description="class -> what it is called in the file; the order is that of the classes"
    )

    @model_validator(mode="after")
    def _check(self) -> Label:
        if (self.column is None) == (not self.rules):
            raise PlacedError("expected either a column or rules that say what a flow is")
        names = [name for called in self.classes.values() for name in called]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise PlacedError(f'"{twice}" is listed twice; a flow is of one class', "classes")
        if not self.rules:
            return self
        if self.otherwise is None:
            raise PlacedError("found rules only; expected what a flow is that none of them fits", "otherwise")
        for place, label in [*((("rules", i), rule.label) for i, rule in enumerate(self.rules)),
                             (("otherwise",), self.otherwise)]:  # fmt: skip
            if label not in names:
                raise PlacedError(f'"{label}" is in none of the classes (known: {", ".join(names)})', *place)
        return self

    def texts(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every text that is looked for in the file, and where within these settings it stands."""
        if self.column is not None:
            for name, called in self.classes.items():
                yield from ((("classes", name, index), text) for index, text in enumerate(called))
        for number, rule in enumerate(self.rules):
            for column, held in rule.when.items():
                yield from ((("rules", number, "when", column, index), text) for index, text in enumerate(held))


class Station(Settings):
    """Where a flow was recorded; all in one place if nothing is said."""

    column: Word | None = Field(None, description="the column that names it")
    file: bool = Field(False, description="each file is a station, and its name the station's")
    restarts: Word | None = Field(
        None, description="a column that counts rows: where it begins anew, so does a station"
    )
    prefix: Word = Field("station-", description="what the names of counted stations begin with; 1, 2, ... follow")

    @model_validator(mode="after")
    def _check(self) -> Station:
        if (self.column is not None) + self.file + (self.restarts is not None) > 1:
            raise PlacedError("expected one of column, file and restarts")
        return self


class Session(Settings):
    """Captures made one after the other; one a station if nothing is said."""

    column: Word | None = Field(None, description="the column that names it")
    falls: Word | None = Field(None, description="a column that grows within a capture: where it falls, another begins")


class FlowFormat(Settings):
    """What the columns of a file of flow records are."""

    name: Word = Field(description="of the mapping")
    header: Literal["first", "fields"] = Field("first", description="where the columns are named; fields is Zeek's")
    separator: str = Field(",", min_length=1, max_length=1, description="between columns")
    comments: str | None = Field(None, min_length=1, max_length=1, description="what lines begin with that are no rows")
    missing: tuple[str, ...] = Field((), description="texts that mean: no value; an empty one always does")
    columns: tuple[Word, ...] = Field((), description="all columns in order, if a file with others is to be refused")
    features: tuple[Feature, ...] = Field(min_length=1, max_length=4096, description="what becomes an image, in order")
    label: Label | None = Field(None, description="what a flow is; detectors need none")
    benign: Word | None = Field(None, description="the class that is no attack")
    station: Station = Field(Station(), description="where a flow was recorded")
    session: Session = Field(Session(), description="captures made one after the other")

    @field_validator("separator", "comments")
    @classmethod
    def _one_plain_character(cls, mark: str | None) -> str | None:
        if mark is not None and (mark in '"\r\n' or not mark.isascii()):
            raise ValueError(f"found {mark!r}; expected one ASCII character that is no quote and ends no line")
        return mark

    @field_validator("features")
    @classmethod
    def _once(cls, features: tuple[Feature, ...]) -> tuple[Feature, ...]:
        seen: set[str] = set()
        for index, feature in enumerate(features):
            if feature.column in seen:
                raise PlacedError(f"{feature.column} is listed twice", index)
            seen.add(feature.column)
        return features

    @model_validator(mode="after")
    def _check(self) -> FlowFormat:
        if self.label is not None and self.label.column in {feature.column for feature in self.features}:
            raise PlacedError(f"{self.label.column} is the label; it cannot be a feature, too", "label")
        if self.benign is not None and (self.label is None or self.benign not in self.label.classes):
            known = ", ".join(self.label.classes) if self.label else "none"
            raise PlacedError(f'there is no class "{self.benign}" (known: {known})', "benign")
        if self.comments == self.separator:
            raise PlacedError(f"{self.comments!r} stands between columns; it cannot begin comments, too", "comments")
        self._check_leaks()
        for where, text in self._texts():
            if text in self.missing:
                raise PlacedError(f'"{text}" is never found, since `missing` says that it means no value', *where)
        return self

    def _check_leaks(self) -> None:
        """A column that decides what a flow is gives the class away where it is a feature, too: that must be said."""
        ruling = {column for rule in (self.label.rules if self.label else ()) for column in rule.when}
        for index, feature in enumerate(self.features):
            if feature.column in ruling and not feature.leaks:
                raise PlacedError(
                    f"{feature.column} decides in label.rules what a flow is, so as a feature it gives the class away; "
                    "expected leaks: true (dataset.leaking_columns: blank then leaves it out), or rules without it",
                    "features", index, "leaks",
                )  # fmt: skip

    def _texts(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for number, feature in enumerate(self.features):
            yield from ((("features", number, "values", index), text) for index, text in enumerate(feature.values))
        if self.label is not None:
            yield from ((("label", *where), text) for where, text in self.label.texts())

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes in order."""
        return tuple(self.label.classes) if self.label else ()

    @cached_property
    def attacks(self) -> tuple[str, ...]:
        """What flows are called in the file, in the order of the classes."""
        return tuple(name for called in self.label.classes.values() for name in called) if self.label else ()

    @cached_property
    def class_of_attack(self) -> tuple[int, ...]:
        """The class of each of `attacks`."""
        called = self.label.classes.values() if self.label else ()
        return tuple(index for index, names in enumerate(called) for _ in names)

    def columns_of_text(self, *, labelled: bool) -> tuple[str, ...]:
        """The columns that are read as text, those of labels only where they are asked for."""
        texts = [feature.column for feature in self.features if feature.is_text]
        texts += [column for column in (self.station.column, self.session.column) if column is not None]
        if labelled and self.label is not None:
            texts += [self.label.column] if self.label.column is not None else []
            texts += [column for rule in self.label.rules for column in rule.when]
        return tuple(dict.fromkeys(texts))

    def columns_of_numbers(self) -> tuple[str, ...]:
        """The columns that hold numbers."""
        numbers = [feature.column for feature in self.features if not feature.is_text]
        numbers += [column for column in (self.station.restarts, self.session.falls) if column is not None]
        return tuple(dict.fromkeys(numbers))

    @property
    def has_quotes(self) -> bool:
        """Whether a text in quotes may hold the separator; Zeek knows none, and a quote is a character like others."""
        return self.header == "first"

    @property
    def benign_class(self) -> int | None:
        """The number of the class that is no attack; None if the mapping does not say."""
        return None if self.benign is None else self.class_names.index(self.benign)

    def with_classes(self, classes: Mapping[str, Sequence[str]], benign: str | None) -> FlowFormat:
        """The same, the flows grouped in other classes. Raises `ValueError` for a format without labels."""
        if self.label is None:
            raise ValueError(f"{self.name} has no labels to group")
        label = self.label.model_copy(update={"classes": {name: tuple(called) for name, called in classes.items()}})
        return FlowFormat.model_validate({**self.model_dump(), "label": label.model_dump(), "benign": benign})

    def flows_per_image(self, side: int, layout: Literal["packed", "rows"]) -> int:
        """Flows that fill `side` x `side` pixels: as many rows, or as many as it takes, the last one cut off.

        Raises `DataError` for more features than pixels in a row.
        """
        if layout == "packed":
            return -(-(side**2) // len(self.features))
        if len(self.features) > side:
            raise DataError(
                f"{self.name} has {len(self.features)} features, and a row of the image {side} pixels; "
                "use dataset.layout: packed"
            )
        return side


def read_format(path: Path) -> FlowFormat:
    """A mapping from its YAML file. Raises `DataError`, with line and column."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the mapping {path} cannot be read: {error}") from error
    return _parsed(text, str(path))


@lru_cache(maxsize=8)
def published_format(name: str) -> FlowFormat:
    """A mapping that comes with the package: `nidd`."""
    text = (resources.files("collab.data.flows") / f"{name}.yaml").read_text(encoding="utf-8")
    return _parsed(text, f"{name}.yaml")


def _parsed(text: str, source: str) -> FlowFormat:
    try:
        document = Document.read(text, source)
        return FlowFormat.model_validate(document.data)
    except ScenarioError as error:
        raise DataError(str(error)) from error
    except ValidationError as error:
        told = explain(error, FlowFormat.model_json_schema())
        raise DataError("\n".join(f"{document.place(where)}: {sentence}" for where, sentence in told)) from error
