"""The error family of simnet: everything that simnet raises on purpose descends from `SimnetError`.

Errors that stand for what a socket would have done also descend from the matching `OSError`, so that
unmodified programs (aiohttp wraps `OSError`) handle them as they handle the real thing.
"""

from __future__ import annotations

from simnet.identity import Identity


class SimnetError(Exception):
    """Root of the family."""


class UnitError(SimnetError, ValueError):
    """A quantity such as ``"20 Mbit/s"`` cannot be read."""


class TopologyError(SimnetError, ValueError):
    """The description of the network contradicts itself: an unknown host, a negative latency, no route."""


class FaultError(SimnetError, ValueError):
    """A fault that cannot happen: it names an unknown host or link, or begins before the run does."""


class HostLostError(SimnetError, RuntimeError):
    """A host has crashed for good, so what was started there never ends."""


class NotSimulatedError(SimnetError, NotImplementedError):
    """A call that has no meaning in virtual time: signals, subprocesses, file descriptors, TLS, UDP."""


class DeadlockError(SimnetError, RuntimeError):
    """Nothing will ever happen again, yet tasks are waiting. The message names each task and what it awaits."""


class NoHostError(SimnetError, RuntimeError):
    """A task that belongs to no host used the network. Start it with `Host.start`."""


class UnreachableError(SimnetError, ConnectionError):
    """No listener, no route or no such host at the other end."""


class NoAnswerError(UnreachableError, TimeoutError):
    """The other end is silent: it is switched off, or the path to it is cut, for longer than Linux tries."""


class InterruptedPartsError(UnreachableError):
    """A connection broke while a message went in parts. The attempt had begun `gained_bytes` further than the last."""

    def __init__(self, message: str, gained_bytes: int) -> None:
        super().__init__(message)
        self.gained_bytes = gained_bytes


class PortInUseError(SimnetError, OSError):
    """The address to listen on is taken."""


class DiskInUseError(SimnetError, OSError):
    """The folder of a disk is held by another program."""


class BoundaryError(SimnetError, PermissionError):
    """A trust boundary refused a connection or a message. The message says which rule was missing."""


class RateError(BoundaryError):
    """A boundary refused a message because too many came lately. `retry_after_s`: seconds until it would pass."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class TenancyError(SimnetError, ValueError):
    """The rules of a boundary say something impossible: a rate of nothing, a budget that cannot be kept."""


class LedgerError(SimnetError, ValueError):
    """A ledger file is not as the run wrote it. `line` is the number of the first line that shows it."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


class InspectionError(SimnetError, ValueError):
    """A body could not be read, or carries something other than what it claims to carry."""


class TraceFileError(SimnetError, ValueError):
    """A file is no trace, is damaged, or was changed since it was written. The message names it."""


class IdentityError(SimnetError, PermissionError):
    """A request does not prove who sends it, or proves somebody who may not. `code` is for programs.

    `status` is that of the answer: 401 if other credentials could help, 403 if not. `proved` is whom the credentials
    name, where that is beyond doubt though it did not suffice; it is for the log.
    """

    def __init__(self, code: str, reason: str, status: int = 401, proved: Identity | None = None) -> None:
        super().__init__(reason)
        self.proved = proved
        self.code = code
        self.status = status


class UntrustedError(UnreachableError):
    """Whoever answers at the peer's address cannot prove to be the peer: its certificate is not to be trusted."""
