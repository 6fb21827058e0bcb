"""The audit of a finished run: are its ledgers as they were written, and does every crossing have its rule?

Works on the run directory alone, without torch: the chain of each ledger is held against its seal in `outcome.json` and
in `summary.json`, and its entries against the tenants, boundaries and budgets in `scenario.yaml`, whose digest the
chain is bound to.

Not seen here: somebody who writes ledger, scenario and both seals anew, all fitting. Note down the head of the chain,
which `collab run --json` and `collab audit` print, and compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from collab.boundary_settings import BoundarySettings, tenants_of
from collab.errors import RunDirectoryError
from collab.store import LEDGER, SCENARIO, SCENARIO_SHA256, MethodRun, Run
from simnet import Rule
from simnet.auditing import Audit, audit
from simnet.errors import LedgerError, SimnetError
from simnet.ledger import LedgerEntry, Seal
from simnet.units import size_bytes

_SERVER = "server"


@dataclass(frozen=True)
class RunBoundaries:
    """Who belonged to whom in a run, and what might cross."""

    tenant_of: Mapping[str, str]
    rules: Sequence[Rule]
    budgets: Mapping[str, int]

    @classmethod
    def of(cls, run: Run) -> RunBoundaries:
        """Those of a run's scenario. Raises `RunDirectoryError` if its file is damaged."""
        try:
            scenario = run.scenario
            hosts = [*(f"client-{index}" for index in range(scenario["partition"]["clients"])), _SERVER]
            return cls(
                tenants_of(scenario.get("tenants"), hosts),
                [BoundarySettings.model_validate(boundary).rule() for boundary in scenario["boundaries"]],
                {tenant: size_bytes(size) for tenant, size in scenario.get("budgets", {}).items()},
            )
        except (OSError, KeyError, TypeError, AttributeError, SimnetError, ValidationError) as error:
            raise RunDirectoryError(f"{run.path / SCENARIO} is damaged: {error}") from error


@dataclass(frozen=True)
class MethodAudit:
    """What the audit of one method's ledger found. `broken` says why its chain is not whole, None if it is."""

    name: str
    seal: Seal | None
    broken: str | None
    entries: Sequence[LedgerEntry]
    findings: Audit | None
    """None if the chain is broken: what stands in such a ledger proves nothing."""

    @property
    def passed(self) -> bool:
        """Whether the chain is whole and every crossing has its rule."""
        return self.findings is not None and not self.findings.doubts


@dataclass(frozen=True)
class RunAudit:
    """The audit of a run, method by method. `stale` says that its scenario is not the one that ran, None if it is."""

    run: Run
    boundaries: RunBoundaries
    methods: Sequence[MethodAudit]
    stale: str | None = None

    @cached_property
    def complaints(self) -> list[str]:
        """What is wrong, one sentence each; empty if nothing is."""
        said = [] if self.stale is None else [f"{self.run.path / SCENARIO}: {self.stale}"]
        for method in self.methods:
            path = self.run.path / method.name / LEDGER
            if method.broken is not None:
                said.append(f"{path}: {method.broken}")
            elif method.findings is not None and method.findings.doubts:
                first, *more = method.findings.doubts
                others = f"; and {len(more)} more like it" if more else ""
                said.append(f"{path}: line {first.line} is not explained by the boundaries: {first.reason}{others}")
        return said


def audit_run(run: Run, names: Sequence[str]) -> RunAudit:
    """Audit the ledgers of the methods called `names`. Raises `RunDirectoryError` if the directory is damaged."""
    boundaries = RunBoundaries.of(run)
    scenario_sha256 = hashlib.sha256((run.path / SCENARIO).read_bytes()).hexdigest()
    chosen = [method for method in run.methods if method.name in names]
    audits = [_audited(run, method, boundaries, scenario_sha256) for method in chosen]
    bound_to = [str(one.seal.identity.get(SCENARIO_SHA256)) for one in audits if one.seal is not None]
    others = [digest for digest in bound_to if digest != scenario_sha256]
    stale = None
    if others:
        stale = (
            f"it was changed since the run, and with it perhaps the boundaries: its SHA-256 is {scenario_sha256[:16]}, "
            f"the ledger is bound to {others[0][:16]}"
        )
    return RunAudit(run, boundaries, audits, stale)


def _audited(run: Run, method: MethodRun, boundaries: RunBoundaries, scenario_sha256: str) -> MethodAudit:
    seal = method.seal
    broken = _wrong_seal(run, method, seal)
    if broken is not None or seal is None:
        return MethodAudit(method.name, seal, broken, [], None)
    try:
        entries = list(method.verified_ledger(seal))
    except (LedgerError, OSError) as error:
        reason = str(error) if isinstance(error, LedgerError) else f"it cannot be read: {error.strerror}"
        return MethodAudit(method.name, seal, reason, [], None)
    findings = audit(entries, boundaries.tenant_of, boundaries.rules, boundaries.budgets)
    if seal.identity[SCENARIO_SHA256] != scenario_sha256:
        findings.doubts.clear()  # there are no boundaries to hold it against
    return MethodAudit(method.name, seal, None, entries, findings)


def _wrong_seal(run: Run, method: MethodRun, seal: Seal | None) -> str | None:
    """Why a ledger's seal is not that of this run; None if it is."""
    if seal is None:
        return "there is no seal of it in outcome.json: it was taken out, or the run is older than seals; run it again"
    summary: Mapping[str, Any] = run.summary
    expected = {"scenario": summary.get("scenario"), "seed": summary.get("seed"), "method": method.name}
    if seal.identity != {**expected, SCENARIO_SHA256: seal.identity.get(SCENARIO_SHA256)}:
        return f"it is the ledger of another run or method: {dict(seal.identity)}"
    row = summary["methods"][method.name]
    noted = row.get("ledger") if isinstance(row, dict) else None
    if noted != {"lines": seal.lines, "head": seal.head}:
        return f"summary.json and outcome.json do not agree on how it ends: {noted} and {seal.lines} lines, {seal.head}"
    return None


__all__ = ["MethodAudit", "RunAudit", "RunBoundaries", "audit_run"]
