"""What a site must not answer twice in different words, kept on its disk.

Two answers to different questions can give away together what neither does alone: in secure sums, the shares for one
set of survivors and those for another one. A method whose module has a function `answered_once(task)` names the
question that a task asks, or says None; the first task that asks it is answered, as often as it comes, and no other.
"""

from __future__ import annotations

from collections.abc import Callable

from collab.errors import RunFailedError
from collab.methods import Task, get
from simnet.disk import Disk

_ANSWERED = "answered/"


def answer_once(disk: Disk, task: Task, digest: str) -> None:
    """Note that a task, of whose message this is the digest, is going to be answered.

    Raises `RunFailedError` if another one that asks the same was answered before.
    """
    question: Callable[[Task], str | None] | None = getattr(get(task.method), "answered_once", None)
    name = None if question is None else question(task)
    if name is None:
        return
    place = f"{_ANSWERED}{task.method}/{name}"
    try:
        known = disk.read(place).decode()
    except KeyError:
        disk.write(place, digest.encode())
        return
    if known != digest:
        raise RunFailedError(
            f"the server asks for {name} a second time, with other content: both answers together could give away what "
            "this site keeps to itself, so it gives none. If this is another run, begin it with an empty disk"
        )


def forget_answers(disk: Disk) -> None:
    """Forget what was answered, when the secrets that it was about are forgotten, too."""
    for place in disk.keys(_ANSWERED):
        disk.delete(place)
