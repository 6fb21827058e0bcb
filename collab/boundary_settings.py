"""The `tenants`, `boundaries` and `budgets` of a scenario: who belongs to whom, what may cross, how much of it.

What a setting means is simnet's business; here stand its names, its units and its bounds. Needs no torch, so that a
finished run can be audited in a moment.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, field_serializer, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from collab.network_settings import Settings
from collab.quantities import Duration, Size
from simnet import Rate, Rule
from simnet.errors import UnitError
from simnet.units import format_size, size_bytes

Kind = Literal[
    "embeddings", "synthetic", "seeds", "model", "gradients", "keys", "shares", "masked", "unmasking", "stream"
]
Tenants = Mapping[str, tuple[str, ...]]
_WILD = frozenset("*?[")
_RATE_EXAMPLE = 'e.g. "1 MB/s", "3 messages/min" or {size: 5 MB, per: 10 s, burst: 20 MB}'


class RateSettings(Settings):
    """How fast content may cross: so much in so long, flowing steadily, and at most a burst at once."""

    size: Size | None = Field(None, description="bytes of content that may cross ...")
    messages: int | None = Field(None, ge=1, description="... or messages with content")
    per: Duration = Field(1.0, ge=1e-6, le=1e9, description="... in this time")
    burst: int | str | None = Field(
        None, description="bytes (or messages) that may cross at once; as much as in one time if not given"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_words(cls, data: Any) -> Any:
        """Text such as "1 MB/s", "3 messages/min" or "2 MB / 10 s" is short for a map."""
        if not isinstance(data, str):
            return data
        amount, slash, time = (part.strip() for part in data.rpartition("/"))
        if not slash or not amount or not time:
            raise ValueError(f'"{data}" is no rate; write {_RATE_EXAMPLE}')
        per = time if time[0].isdecimal() else f"1 {time}"
        number, _, unit = amount.partition(" ")
        if unit.strip() in ("message", "messages"):
            if not (number.isascii() and number.isdecimal()):
                raise ValueError(f'"{number}" is no number of messages; write {_RATE_EXAMPLE}')
            return {"messages": int(number), "per": per}
        return {"size": amount, "per": per}

    @field_validator("burst", mode="after")
    @classmethod
    def _burst(cls, value: int | str | None, info: ValidationInfo) -> int | None:
        """A size beside a size, a number beside a number of messages."""
        if value is None:
            return None
        if info.data.get("messages") is not None:
            if not isinstance(value, int):
                raise ValueError(f'"{value}" is no number of messages; the burst counts in messages, as the rate does')
            burst = value
        else:
            try:
                burst = size_bytes(value)
            except UnitError as error:
                raise ValueError(str(error)) from None
        if burst < 1:
            raise ValueError("a burst of nothing lets nothing pass; expected at least 1")
        return burst

    @model_validator(mode="after")
    def _has_one_meaning(self) -> RateSettings:
        if (self.size is None) == (self.messages is None):
            raise ValueError(f"a rate is of a size or of messages, one of the two; write {_RATE_EXAMPLE}")
        if self.size is not None and self.size < 1:
            raise ValueError("a rate of nothing lets nothing pass; expected at least 1 B")
        return self

    @field_serializer("burst")
    def _write_burst(self, burst: int | str | None) -> int | str | None:
        if self.messages is not None or burst is None:
            return burst
        text = format_size(int(burst))
        return text if size_bytes(text) == burst else f"{burst} B"

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        words = {"type": "string", "examples": ["1 MB/s", "3 messages/min"]}
        return {"anyOf": [words, handler.resolve_ref_schema(handler(schema))], "title": cls.__name__}

    def rate(self) -> Rate:
        """The rate as simnet knows it."""
        burst = None if self.burst is None else int(self.burst)
        if self.messages is not None:
            return Rate(self.messages, self.per, "messages", burst)
        return Rate(int(self.size or 0), self.per, "bytes", burst)


class BoundarySettings(Settings):
    """What may cross toward a tenant, and come back as an answer. Everything else is denied."""

    to: str = Field(description="the tenant that is asked")
    source: str = Field("*", alias="from", description="the tenant that asks; * for any")
    allow: tuple[Kind, ...] = Field(description="kinds of content that may cross toward it")
    at_most: Size | None = Field(None, description="size of one message toward it")
    at_most_count: int | None = Field(
        None, ge=1, description="messages with content that each asking tenant may send toward it in a run"
    )
    at_most_rate: RateSettings | None = Field(
        None, description="how fast each asking tenant may send content toward it, as 1 MB/s or {size, per, burst}"
    )
    answers: tuple[Kind, ...] = Field(("seeds",), description="kinds of content that may come back")

    def rule(self) -> Rule:
        """The rule as simnet knows it."""
        return Rule(
            self.to,
            frozenset(self.allow),
            self.source,
            at_most_bytes=None if self.at_most is None else int(self.at_most),
            answers=frozenset(self.answers),
            at_most_count=self.at_most_count,
            at_most_rate=None if self.at_most_rate is None else self.at_most_rate.rate(),
        )


def claims(tenants: Tenants, hosts: Sequence[str]) -> dict[str, list[str]]:
    """Host -> the tenants that name it, in their order; a name in full beats a pattern. One is as it should be."""
    named: dict[str, list[str]] = {host: [] for host in hosts}
    patterns = []
    for tenant, names in tenants.items():
        for name in dict.fromkeys(names):
            if name in named:
                named[name].append(tenant)
            elif _WILD & set(name):
                patterns.append((tenant, name))
    for host, found in named.items():
        if not found:
            matching = (tenant for tenant, pattern in patterns if fnmatch.fnmatchcase(host, pattern))
            found.extend(dict.fromkeys(matching))
    return named


def tenants_of(tenants: Tenants | None, hosts: Sequence[str]) -> dict[str, str]:
    """The tenant of every host; all belong to one lab if there are no tenants."""
    if tenants is None:
        return dict.fromkeys(hosts, "lab")
    return {host: found[0] for host, found in claims(tenants, hosts).items() if found}


__all__ = ["BoundarySettings", "Kind", "RateSettings", "Tenants", "claims", "tenants_of"]
