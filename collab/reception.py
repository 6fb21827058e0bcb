"""Where newcomers learn what a server runs, and get the names of sites; and where sites say that they give up.

Unless names are proved it is open to all: laboratory comfort.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache

from collab import wire
from collab.agents.messages import message, not_found
from collab.agents.operations import (
    CLAIM,
    CLAIM_ANY,
    CLAIM_KEY_HEADER,
    CLAIM_KEY_PATTERN,
    DESCRIBE_API,
    DESCRIBE_EXPERIMENT,
    GIVE_UP,
)
from collab.api_description import api_description
from collab.deploy import logs
from collab.deploy.store import Store
from collab.errors import WireError
from collab.scenario import Scenario
from simnet import Message, Reply, Request, Route, problem
from simnet.services import route_of

LONGEST_REASON = 500
"""Characters that are told of why a site gives up."""


@lru_cache(maxsize=1)
def _description() -> bytes:
    """What a server offers, as JSON: the same whoever asks."""
    return json.dumps(api_description()).encode()


class Reception:
    """Describes the experiment to newcomers and gives them the names of sites; only their own if these are `proved`."""

    def __init__(
        self,
        scenario: Scenario,
        lose: Callable[[str, str], None],
        store: Store | None = None,
        *,
        proved: bool = False,
    ) -> None:
        self._proved = proved
        self._scenario = scenario
        self._lose = lose
        self._store = store
        self._gave_up: set[str] = set()
        given = {} if store is None else store.claimed()
        self._claimed = set(given)
        self._by_key = {key: site for site, key in given.items() if key}

    def routes(self) -> list[Route]:
        """The routes of the reception, open to all unless names are proved."""
        to_all = not self._proved
        return [
            route_of(DESCRIBE_EXPERIMENT, self._describe, open_to_all=to_all),
            route_of(CLAIM_ANY, self._claim_any, open_to_all=to_all),
            route_of(CLAIM, self._claim, open_to_all=to_all),
            route_of(GIVE_UP, self._gives_up),
            route_of(DESCRIBE_API, self._describe_api, fixed=True),
        ]

    async def _describe(self, request: Request) -> Reply:
        return Reply(200, message({"scenario": self._scenario.dump()}))

    async def _describe_api(self, request: Request) -> Reply:
        return Reply(200, Message(_description(), content_type="application/json"))

    async def _claim_any(self, request: Request) -> Reply:
        if request.source in self._scenario.clients:
            return self._claimed_by(request.source)
        if self._proved:
            return problem(403, "not-you", f"{request.source} is no site of this run")
        key = request.headers.get(CLAIM_KEY_HEADER, "").strip('"')
        if key and not re.fullmatch(CLAIM_KEY_PATTERN, key):
            return problem(400, "bad-key", f"{CLAIM_KEY_HEADER} has 1 to 128 letters, digits, - and _")
        if key in self._by_key:  # the answer to an earlier attempt was lost
            return self._claimed_by(self._by_key[key], key)
        for site in self._scenario.clients:
            if site not in self._claimed:
                return self._claimed_by(site, key)
        return problem(409, "full", f"all {len(self._scenario.clients)} sites are taken; name one to take its place")

    async def _claim(self, request: Request) -> Reply:
        site = request.parameters["site"]
        if site not in self._scenario.clients:
            return not_found("site", site)
        if request.source not in ((site,) if self._proved else (site, None)):
            return problem(403, "not-you", f"{request.source} may not take part as {site}")
        return self._claimed_by(site)

    async def _gives_up(self, request: Request) -> Reply:
        site = request.parameters["site"]
        if site not in self._scenario.clients:
            return not_found("site", site)
        if request.source != site:
            return problem(403, "not-you", f"{request.source} may not speak for {site}")
        try:
            reason = wire.unpack(request.message.body).fields["reason"]
        except (WireError, KeyError) as error:
            return problem(400, "unreadable", f"a site that gives up says why: {error}")
        told = str(reason)[:LONGEST_REASON]
        if site not in self._gave_up:
            self._gave_up.add(site)
            logs.note("gave-up", told, level="warning", site=site)
        self._lose(site, f"{site} has given up: {told}")
        return Reply(200, message({"site": site}))

    def _claimed_by(self, site: str, key: str = "") -> Reply:
        # A site may come back after a crash. Unless names are proved, nobody can tell it from another in its place.
        self._claimed.add(site)
        if self._store is not None:
            self._store.claim(site, key)
        if key:
            self._by_key[key] = site
        return Reply(201, message({"site": site}))
