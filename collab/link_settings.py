"""The settings of one link: what may be said of it in a scenario, and simnet's own link that it makes.

Most may be said in a word (`jitter: 2 ms`, `bandwidth: 20 Mbit/s`) or at length (`jitter: {spread: 2 ms, distribution:
pareto}`, `bandwidth: {up: 5 Mbit/s, down: 50 Mbit/s}`). "Up" is from a link's first end to its second: toward the
server in a star, two tiers and a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

from collab.document import PlacedError
from collab.quantities import Bandwidth, Duration, Probability
from simnet import CapacitySchedule, CapacityStep, LinkSpec, read_mahimahi
from simnet.errors import TopologyError, UnitError
from simnet.jitter import NEVER_EARLY, JitterDistribution
from simnet.topology import QueueDiscipline
from simnet.units import duration_s, format_duration

MOST_LATENCY_S = 3600


class Settings(BaseModel):
    """The root of all settings: immutable, and nothing unknown in them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _word_or(title: str, word: str = "float") -> Discriminator:
    """Tells a setting said in a word from one said at length; the tags are names that error messages leave out."""
    return Discriminator(lambda value: title if isinstance(value, (dict, BaseModel)) else word)


LinkBandwidth = Annotated[Bandwidth, Field(ge=1, le=1e15)]
LinkLatency = Annotated[Duration, Field(le=MOST_LATENCY_S)]
LinkLoss = Annotated[Probability, Field(lt=1)]


class BandwidthUpDown(Settings):
    """A capacity for each direction."""

    up: LinkBandwidth = Field(description="from the first end to the second: toward the server")
    down: LinkBandwidth = Field(description="from the second end to the first")


class LossUpDown(Settings):
    """A probability of loss for each direction."""

    up: LinkLoss = Field(0.0, description="toward the server")
    down: LinkLoss = Field(0.0, description="from the server")


class JitterSettings(Settings):
    """How far messages deviate from the latency."""

    spread: LinkLatency = Field(
        description="uniform: the largest deviation; normal: the standard deviation; others: the mean delay"
    )
    distribution: JitterDistribution = Field("uniform", description="how the deviations are distributed")


class StepSettings(Settings):
    """A step of a schedule: from a time on, a capacity."""

    at: Duration = Field(description="since the start of the run, or of the period")
    bandwidth: Annotated[Bandwidth, Field(le=1e15)] = Field(description="0 carries nothing; what is sent waits")


def _in_order(steps: tuple[StepSettings, ...]) -> tuple[StepSettings, ...]:
    if not steps:
        raise PlacedError("a schedule needs at least one step, such as {at: 10 s, bandwidth: 1 Mbit/s}")
    for index in range(1, len(steps)):
        before, at = steps[index - 1].at, steps[index].at
        if at <= before:
            message = f"a step at {at:g} s follows one at {before:g} s; expected times that increase"
            raise PlacedError(message, index, "at")
    return steps


Steps = Annotated[tuple[StepSettings, ...], AfterValidator(_in_order)]


class ScheduleSettings(Settings):
    """A capacity that changes: steps, repeated or not, or a trace file in the format of mahimahi.

    A trace is read when the scenario is, and becomes steps: the scenario then no longer needs the file.
    """

    steps: Steps = Field((), validate_default=False, description="such as {at: 10 s, bandwidth: 1 Mbit/s}, in order")
    every: Annotated[Duration, Field(gt=0)] | None = Field(None, description="start over after this long")
    trace: str | None = Field(
        None, description="a file of mahimahi's format (a millisecond a line), relative to the scenario's folder"
    )
    step: Duration = Field(0.1, description="of a trace: how long the steps are into which it is cut")

    @model_validator(mode="before")
    @classmethod
    def _read_trace(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("trace"), str):
            return data
        if "steps" in data or "every" in data:
            raise PlacedError("a trace has its own steps and period; give either a trace or steps", "trace")
        try:
            step_s = duration_s(data.get("step", "0.1 s"))
        except UnitError:
            return data  # pydantic will complain about the step itself
        folder = Path((info.context or {}).get("folder", "."))
        schedule = _read(folder / data["trace"], step_s)
        # Values that were read already; only what was in the file besides is left for pydantic to judge.
        steps = tuple(
            StepSettings.model_construct(at=step.at_s, bandwidth=step.bandwidth_bps) for step in schedule.steps
        )
        rest = {key: value for key, value in data.items() if key not in ("trace", "step")}
        return {**rest, "steps": steps, "every": f"{schedule.period_s!r} s"}

    @model_validator(mode="after")
    def _check_period(self) -> ScheduleSettings:
        if not self.steps:
            raise PlacedError("a schedule needs steps or a trace")
        if self.every is None:
            return self
        for index, step in enumerate(self.steps):
            if step.at >= self.every:
                message = f"a step at {step.at:g} s lies beyond the period of {self.every:g} s: it would never come"
                raise PlacedError(message, "steps", index, "at")
        if all(step.bandwidth == 0 for step in self.steps):
            raise PlacedError("the link would never carry anything: no step has a bandwidth above 0", "steps")
        return self


def _read(path: Path, step_s: float) -> CapacitySchedule:
    try:
        return read_mahimahi(path, step_s=step_s)
    except TopologyError as error:
        raise PlacedError(str(error), "trace") from error
    except OSError as error:
        raise PlacedError(f"the trace {path} cannot be read: {error.strerror or error}", "trace") from error


OneSchedule = Annotated[
    Annotated[Steps, Tag("list")] | Annotated[ScheduleSettings, Tag("ScheduleSettings")],
    _word_or("ScheduleSettings", "list"),
]


class ScheduleUpDown(Settings):
    """A schedule for each direction; without one a direction keeps its bandwidth."""

    up: OneSchedule | None = Field(None, description="toward the server")
    down: OneSchedule | None = Field(None, description="from the server")


def _form_of_schedule(value: Any) -> str:
    if isinstance(value, ScheduleUpDown) or (isinstance(value, dict) and value.keys() & {"up", "down"}):
        return "ScheduleUpDown"
    return "ScheduleSettings" if isinstance(value, (dict, BaseModel)) else "list"


Schedule = Annotated[
    Annotated[Steps, Tag("list")]
    | Annotated[ScheduleSettings, Tag("ScheduleSettings")]
    | Annotated[ScheduleUpDown, Tag("ScheduleUpDown")],
    Discriminator(_form_of_schedule),
]


class LinkSettings(Settings):
    """A link: capacity per direction, one-way propagation delay, jitter, loss, queue, schedule."""

    bandwidth: Annotated[
        Annotated[LinkBandwidth, Tag("float")] | Annotated[BandwidthUpDown, Tag("BandwidthUpDown")],
        _word_or("BandwidthUpDown"),
    ] = Field(description="capacity, such as 20 Mbit/s, the same both ways; or up and down")
    latency: LinkLatency = Field(description="propagation delay one way, such as 10 ms")
    jitter: Annotated[
        Annotated[LinkLatency, Tag("float")] | Annotated[JitterSettings, Tag("JitterSettings")],
        _word_or("JitterSettings"),
    ] = Field(0.0, description="each message deviates by up to this much from the latency; or spread and distribution")
    loss: Annotated[
        Annotated[LinkLoss, Tag("float")] | Annotated[LossUpDown, Tag("LossUpDown")],
        _word_or("LossUpDown"),
    ] = Field(0.0, description="probability that a packet is lost at random")
    queue: QueueDiscipline = Field("droptail", description="discipline of the buffer before the link")
    queue_packets: int | None = Field(
        None, ge=1, le=10**7, description="what a droptail buffer holds; a bandwidth-delay product if not given"
    )
    schedule: Schedule | None = Field(None, description="what the capacity is when: steps, or a trace file")

    @model_validator(mode="after")
    def _check_jitter(self) -> LinkSettings:
        spread_s, distribution = self._jitter()
        if spread_s > self.latency and distribution not in NEVER_EARLY:
            message = (
                f"jitter of {format_duration(spread_s)} exceeds the latency of {format_duration(self.latency)}: "
                f"nothing arrives before it is sent; make it smaller; never early are {', '.join(sorted(NEVER_EARLY))}"
            )
            raise PlacedError(message, "jitter")
        return self

    def _jitter(self) -> tuple[float, JitterDistribution]:
        if isinstance(self.jitter, JitterSettings):
            return self.jitter.spread, self.jitter.distribution
        return self.jitter, "uniform"

    def spec(self) -> LinkSpec:
        """The link as simnet knows it."""
        up_bps, down_bps = _each(self.bandwidth, BandwidthUpDown)
        up_loss, down_loss = _each(self.loss, LossUpDown)
        spread_s, distribution = self._jitter()
        schedule, reverse_schedule = _schedules(self.schedule, down_bps)
        return LinkSpec(
            up_bps,
            self.latency,
            spread_s,
            None if down_bps == up_bps else down_bps,
            up_loss,
            None if down_loss == up_loss else down_loss,
            self.queue,
            self.queue_packets,
            distribution,
            schedule,
            reverse_schedule,
        )


def _each(value: Any, kind: type[BandwidthUpDown] | type[LossUpDown]) -> tuple[float, float]:
    return (value.up, value.down) if isinstance(value, kind) else (value, value)


def _schedules(settings: Any, down_bps: float) -> tuple[CapacitySchedule | None, CapacitySchedule | None]:
    if not isinstance(settings, ScheduleUpDown):
        return _schedule(settings), None
    up, down = _schedule(settings.up), _schedule(settings.down)
    if up is not None and down is None:  # to simnet, no way back of its own is one as the way forth
        down = CapacitySchedule((CapacityStep(0.0, down_bps),))
    return up, down


def _schedule(settings: Sequence[StepSettings] | ScheduleSettings | None) -> CapacitySchedule | None:
    if settings is None:
        return None
    steps, every = (settings.steps, settings.every) if isinstance(settings, ScheduleSettings) else (settings, None)
    return CapacitySchedule(tuple(CapacityStep(step.at, step.bandwidth) for step in steps), every)
