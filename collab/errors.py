"""The error family of collab: everything that collab raises on purpose descends from `CollabError`.

Each class knows the exit code with which the command ends, so that scripts can tell mistakes apart.
"""

from __future__ import annotations

from typing import ClassVar


class CollabError(Exception):
    """Root of the family."""

    exit_code: ClassVar[int] = 1


class ScenarioError(CollabError, ValueError):
    """The scenario file cannot be read, or says something impossible."""

    exit_code = 3


class BoundaryMissingError(ScenarioError):
    """A trust boundary forbids what the method needs."""

    exit_code = 4


class DataError(CollabError):
    """A data set is unknown, or missing and not to be had."""

    exit_code = 5


class DamagedDataError(DataError):
    """A file of a data set cannot be read, or holds something else than it should."""

    exit_code = 15


class PartitionError(CollabError, ValueError):
    """The data cannot be divided as asked."""

    exit_code = 6


class RunExistsError(CollabError):
    """A run directory of that name is there already."""

    exit_code = 7


class AddressInUseError(CollabError):
    """The address to listen on is taken."""

    exit_code = 8


class RunFailedError(CollabError):
    """The run could not be brought to its end."""

    exit_code = 9


class TooFewUploadsError(RunFailedError):
    """A round was closed with fewer uploads than it needs: nothing that comes later changes that."""


class RunNotFoundError(CollabError):
    """There is no such run directory, or it is not one."""

    exit_code = 10


class RunDirectoryError(CollabError):
    """A run directory, or a file of it, cannot be written or read."""

    exit_code = 11


class AuditError(CollabError):
    """A ledger is not as the run wrote it, or holds what the boundaries of the run do not explain."""

    exit_code = 12


class ReplayDiffersError(CollabError):
    """A run that was run again came out differently."""

    exit_code = 13


class ChaosError(CollabError):
    """A run under faults did something that no run may do."""

    exit_code = 14


class WorkerLostError(CollabError):
    """A worker of an engine ended before its task did, and so did those that ran the task again."""

    exit_code = 16


class OutOfMemoryError(CollabError):
    """There was not enough memory for a computation."""

    exit_code = 17


class MissingExtraError(CollabError):
    """An optional package that is needed for what was asked is not installed."""

    exit_code = 18


class SweepFailedError(CollabError):
    """Cells of a sweep failed; the others are finished."""

    exit_code = 19


class WireError(CollabError, ValueError):
    """A body cannot be read: damaged, too large, too deep, or of another schema."""


class MethodPluginError(CollabError):
    """What an installed package adds as a method is none."""

    exit_code = 20


class StoreError(CollabError):
    """The store of a server, or the folder of a site, is another run's, in use, damaged, or cannot be written."""

    exit_code = 21


class CredentialsError(CollabError):
    """A certificate, a key, a token or a list of revoked ones cannot be read, or is not what it should be."""

    exit_code = 22


class StoppedError(CollabError):
    """A server or a site was told to stop before its run was over, and did so in order: the same command goes on."""

    exit_code = 23


class RefusedUploadError(CollabError, ValueError):
    """An upload is well formed but not what the task asked for."""


class PrivateDataError(CollabError):
    """A body contains private data of the site that is about to send it."""


INTERRUPTED_EXIT_CODE = 130
BROKEN_PIPE_EXIT_CODE = 141
"""Nobody reads what is printed any more, as after `| head`: a shell's 128 and the number of SIGPIPE."""
