"""What happens in a worker: a task comes as bytes, its outcome goes back as bytes.

An error of the function comes back as itself, with its class; one that cannot be pickled as a `RunFailedError` that
names it. Its traceback goes along as a note.
"""

from __future__ import annotations

import pickle
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from collab.engines.engine import Done, title_of
from collab.engines.shipping import Bytes, unpacked
from collab.engines.shortage import naming_shortage
from collab.errors import RunFailedError
from collab.process import importing

Work = tuple[Callable[..., Any], tuple[Any, ...]]


def precision_of_products() -> str:
    """How exact torch's products of float32 matrices are in this process; those of its workers are to be the same."""
    torch: Any = sys.modules.get("torch")
    return "highest" if torch is None else str(torch.get_float32_matmul_precision())


@lru_cache(maxsize=1)
def prepare(threads: int, precision: str) -> None:
    """Make this process a worker whose torch uses so many threads; only the first call with the same does anything."""
    with importing():
        import torch
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    # An array that several processes share is read-only; torch warns of tensors made of one, which we only read.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


def perform(body: bytes, arrays: Sequence[Bytes], workers: int) -> bytes:
    """Do a task, one of `workers` at a time; returns its outcome for `outcome_of`.

    `body` is a parcel's, `arrays` are those behind its references.
    """
    try:
        function, args = unpacked(body, arrays)
        with naming_shortage(title_of(function), workers):
            started_s = time.perf_counter()
            value = function(*args)
            wall_s = time.perf_counter() - started_s
            return pickle.dumps((value, wall_s, None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # raised again where the result is wanted
        return pickle.dumps((None, 0.0, _portable(error)), pickle.HIGHEST_PROTOCOL)


def outcome_of(body: bytes) -> Done[Any]:
    """The outcome of a task. Raises the error with which it ended."""
    value, wall_s, error = pickle.loads(body)
    if error is not None:
        raise error
    return Done(value, wall_s, len(body))


def _portable(error: Exception) -> Exception:
    """An error that survives the journey, with its traceback as a note."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    try:
        copy = pickle.loads(pickle.dumps(error))
        same = type(copy) is type(error) and str(copy) == str(error)
    except Exception:  # whatever is wrong with its pickling, the error itself must not be lost for it
        same = False
    if not same:
        error = RunFailedError(f"{type(error).__name__}: {error}")
    error.__cause__ = None  # it is in the traceback, and may not be portable
    error.add_note(f"in a worker:\n{trace}")
    return error
