"""What becomes of the run of a server, in its log: states, rounds that are over, and what keeps it from serving."""

from __future__ import annotations

import asyncio
from typing import Any

from collab.deploy import logs
from collab.deploy.health import Health, State

LOOK_S, LOOK_FOR_TROUBLE_S = 1.0, 10.0
MOST_NAMED = 20
"""Missing sites in one line."""
_BEFORE_IT_GOES_ON = (State.STARTING, State.CATCHING_UP)


class Chronicle:
    """Writes down what has changed since it looked last. To be used in one thread."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._state: State | None = None
        self._rounds_over = 0
        self._went_on = False
        self._troubles: dict[str, str] = {}

    def look(self) -> None:
        """Write down in which state the run is, and which rounds are over, if that is news."""
        state = self._health.state
        if state not in _BEFORE_IT_GOES_ON:
            self._look_at_rounds()
        if state is not self._state:
            self._state = state
            logs.note("state", state=str(state), round=self._health.round_number)

    def look_for_trouble(self, found: dict[str, str] | None = None) -> None:
        """Write down what keeps the server from serving, once, and once more when it is over; `found` was looked up."""
        troubles = self._health.troubles() if found is None else found
        for what in troubles.keys() - self._troubles.keys():
            logs.note("trouble", troubles[what], level="warning", about=what)
        for what in self._troubles.keys() - troubles.keys():
            logs.note("trouble-over", f"over: {self._troubles[what]}", about=what)
        self._troubles = troubles

    async def go_on_looking(self) -> None:
        """Look again and again, until this is cancelled."""
        while True:
            for _ in range(round(LOOK_FOR_TROUBLE_S / LOOK_S)):
                await asyncio.sleep(LOOK_S)
                self.look()
            # A disk in trouble may take its time, and requests are served in this thread.
            self.look_for_trouble(await asyncio.to_thread(self._health.troubles))

    def _look_at_rounds(self) -> None:
        rounds = self._health.rounds()
        if not self._went_on and self._health.goes_on:
            self._rounds_over = max(0, len(rounds) - 1)
            missing = rounds[-1].missing if rounds else []
            logs.note(
                "goes-on",
                "an earlier server of this run has ended before it was over",
                round=len(rounds),
                uploads=self._health.uploads(),
                missing=missing[:MOST_NAMED],
                missing_in_all=len(missing),
            )
        self._went_on = True
        for number, each in enumerate(rounds[self._rounds_over :], self._rounds_over + 1):
            if each.missing and not each.closed and number == len(rounds):
                return
            self._rounds_over = number
            facts: dict[str, Any] = {
                "round": number,
                "uploads": len(each.answered),
                "missing": each.missing[:MOST_NAMED],
                "missing_in_all": len(each.missing),
            }
            if each.closed:
                facts["reason"] = each.closed
            logs.note("round-over", **facts)
