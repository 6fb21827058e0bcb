"""What an event loop cannot do in virtual time, and says so.

Signals, subprocesses, real file descriptors, UDP, Unix sockets, TLS upgrades and `sendfile` belong to the operating
system, whose time is another. Each method that asks for one raises `simnet.errors.NotSimulatedError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from simnet.errors import NotSimulatedError


class RefusingLoop(asyncio.BaseEventLoop):
    """The base of a loop in virtual time: refuses what has no meaning there."""


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(_loop: RefusingLoop, *_args: object, **_kwargs: object) -> NoReturn:
        raise NotSimulatedError(f"loop.{name} has no meaning in virtual time and is not simulated")

    refuse.__name__ = name
    refuse.__doc__ = "Refused: raises `NotSimulatedError`."
    return refuse


for _name in (
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_datagram_endpoint",
    "create_unix_connection",
    "create_unix_server",
    "remove_reader",
    "remove_signal_handler",
    "remove_writer",
    "sendfile",
    "sock_accept",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
):
    setattr(RefusingLoop, _name, _refusal(_name))
