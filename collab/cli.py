"""The command `collab`. A user's mistake ends with one message and an exit code of its own, never with a traceback.

Packages built on run directories add commands of their own through the entry point group `collab.commands`.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer

from collab import commands
from collab.deploy import logs
from collab.deploy.shutdown import SERVER_STOPPED, SITE_STOPPED, Terminated, terminate
from collab.errors import (
    BROKEN_PIPE_EXIT_CODE,
    INTERRUPTED_EXIT_CODE,
    CollabError,
    RunDirectoryError,
    RunFailedError,
    StoppedError,
)
from collab.options import RUNS_DIR, AsJson, Overrides, RunName, RunsDir, ScenarioPath
from collab.process import importing

if TYPE_CHECKING:  # they need torch, which is slow to import
    from collab.deploy.configuration import Serving
    from collab.settings import Scenario

P = ParamSpec("P")

app = typer.Typer(
    help="One-shot collaborative learning at the network edge.",
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

_UNFINISHED = {
    "run": "; no run was written",
    "serve": "; no run was written, the same command goes on with the uploads that were accepted",
}
_STOPPED = {"serve": SERVER_STOPPED, "join": SITE_STOPPED}
"""What SIGTERM is an order to stop for a while, and what is said then."""


def ending_cleanly(command: Callable[P, None]) -> Callable[P, None]:
    """Turn this package's errors and Ctrl-C into a message and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()  # here, where a reader who has left (head, less) makes no traceback
            logs.note("ended", exit_code=0)
        except CollabError as error:
            _leave(str(error), error.exit_code)
        except KeyboardInterrupt as interruption:
            if isinstance(interruption, Terminated) and command.__name__ in _STOPPED:
                _leave(_STOPPED[command.__name__], StoppedError.exit_code)
            unfinished = _UNFINISHED.get(command.__name__, f"{interruption}")
            _leave(f"interrupted{unfinished}", INTERRUPTED_EXIT_CODE)
        except MemoryError as error:
            _leave(f"not enough memory: {error}", RunFailedError.exit_code)
        except BrokenPipeError:
            _leave_quietly(BROKEN_PIPE_EXIT_CODE)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _leave(f"{where}{error.strerror or error}", RunDirectoryError.exit_code)

    return run


def _leave(message: str, exit_code: int) -> NoReturn:
    """End the process at once: a job may still compute in its thread, and Python's own exit would make it abort."""
    level: logs.Level = "info" if exit_code == StoppedError.exit_code else "error"
    logs.say(f"collab: {message}", "ended", level=level, exit_code=exit_code)
    _leave_quietly(exit_code)


def _leave_quietly(exit_code: int) -> NoReturn:
    with suppress(OSError):  # a full disk or a closed pipe behind standard output may be why we leave
        sys.stdout.flush()
    os._exit(exit_code)


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """One-shot collaborative learning at the network edge."""
    if version:
        print(metadata.version("collab-edge"))
        raise typer.Exit


@app.command()
@ending_cleanly
def run(
    scenario: ScenarioPath,
    overrides: Overrides = None,
    real: Annotated[bool, typer.Option("--real", help="Over this machine's sockets, in real time.")] = False,
    runs_dir: RunsDir = RUNS_DIR,
    name: RunName = None,
    as_json: AsJson = False,
) -> None:
    """Run a scenario: its method and baselines, all agents in this process."""
    with importing():
        from collab import scenario as scenarios
        from collab.console import LiveProgress
        from collab.run import run_scenario
        from collab.store import open_run

    chosen = scenarios.load(scenario, overrides or [])
    if chosen.sweep is not None:
        logs.say(f"one run of the scenario as it stands; for the {chosen.sweep.cells} cells of its sweep: collab sweep")
    title = f"{chosen.name}, seed {chosen.seed}, {'real' if real else 'simulated'} network"
    methods = [settings.name for settings in (chosen.method, *chosen.baselines)]
    with (
        open_run(runs_dir, chosen.name, name) as writer,
        LiveProgress(title, methods, virtual=not real) as progress,
    ):
        summary = run_scenario(chosen, writer, real=real, listener=progress)
    _present(summary, as_json)


@app.command()
@ending_cleanly
def serve(
    scenario: Annotated[
        Path | None, typer.Argument(help="Scenario file (YAML), unless --config names one.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file (YAML): TLS, who may come.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    address: Annotated[str | None, typer.Option("--host", help="Address to listen on; 127.0.0.1 if not given.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one, 8080 if not given.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Where accepted uploads are kept until the run is written; hidden in --runs if not given."),
    ] = None,
    runs_dir: Annotated[Path | None, typer.Option(help="Where run directories are; runs if not given.")] = None,
    metrics: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="PORT",
            help="Port for /healthz, /readyz and /metrics, 0 for any free one; none in the laboratory if not given.",
            show_default=False,
        ),
    ] = None,
    name: RunName = None,
    as_json: AsJson = False,
) -> None:
    """Be the server of a scenario's method; the sites come with `collab join`."""
    with importing():
        from collab import scenario as scenarios
        from collab.deploy.configuration import serving

    _check_one_of(scenario, config, "SCENARIO")
    how = serving(scenario, config, address=address, port=port, store=store, runs_dir=runs_dir, metrics_port=metrics)
    if how.log is not None:
        logs.begin(how.log.level, how.log.format)
    summary = _served(how, scenarios.load(how.scenario, overrides or []), name)
    logs.note("written", run=summary["run_dir"], seconds=summary["wall_s"])
    _present(summary, as_json)


def _served(how: Serving, chosen: Scenario, name: str | None) -> dict[str, Any]:
    """Serve a scenario to its end; the summary of the run."""
    with importing():
        from collab.console import LiveProgress
        from collab.deploy.store import Store, place_beside, run_identity
        from collab.deploy.watch import Watch
        from collab.run_listener import Silence
        from collab.standalone import serve_scenario
        from collab.store import open_run

    def on_listening(url: str) -> None:
        logs.say(f"listening on {url}; each site: collab join {how.joined_by or url}", "listening", url=url)

    title, methods = f"{chosen.name}, serving", [chosen.method.name]
    identity = run_identity(chosen.name, chosen.seed, chosen.dump())
    with (
        Store(how.store or place_beside(how.runs_dir, identity), identity, quota=how.quota) as kept,
        Watch(
            chosen.clients,
            probes=how.metrics,
            store=kept.folder,
            reserve_bytes=how.quota.free_bytes,
            ingress=how.ingress,
            grace_s=how.grace_s,
        ) as watch,
    ):
        kept.clear_partial()
        watch.health.keeps(kept.why_unwritable)
        if watch.probes_url:
            logs.say(f"metrics on {watch.probes_url}/metrics", "probes", url=watch.probes_url)
        with (
            open_run(how.runs_dir, chosen.name, name) as writer,
            nullcontext(Silence()) if logs.is_written() else LiveProgress(title, methods, virtual=False) as progress,
        ):
            summary = serve_scenario(
                chosen,
                writer,
                address=how.address,
                port=how.port,
                on_listening=on_listening,
                listener=watch.listener(progress),
                store=kept,
                ingress=how.ingress,
                watch=watch,
            )
        kept.run_is_over()
    return summary


@app.command()
@ending_cleanly
def join(
    url: Annotated[
        str | None,
        typer.Argument(
            help="Where the server is, e.g. http://10.0.0.7:8080, unless --config says it.", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file (YAML): server, certificate or token.", show_default=False),
    ] = None,
    site: Annotated[str | None, typer.Option(help="Which site to be; the next free one if not given.")] = None,
    scenario: Annotated[Path | None, typer.Option(help="The scenario; asked of the server if not given.")] = None,
    overrides: Overrides = None,
    patience: Annotated[
        float | None, typer.Option(min=0, help="Seconds to wait for a server that is not up yet; 60 if not given.")
    ] = None,
    disk: Annotated[
        Path | None,
        typer.Option(help="Folder in which the site keeps what it has computed, so that it goes on after a reboot."),
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Write what the site did, and when, to this Parquet file.")] = None,
) -> None:
    """Take part, as one site, in a run that a server offers."""
    _check_one_of(url, config, "URL")
    if url is not None and not re.match(r"https?://[^/]", url):
        raise typer.BadParameter(f'"{url}" is no URL of a server; expected one like http://10.0.0.7:8080')
    if disk is not None and config is None and site is None:
        raise typer.BadParameter("--disk keeps what is one site's; say with --site which it is")
    if overrides and scenario is None:
        raise typer.BadParameter("--set changes a scenario of your own; name it with --scenario")
    with importing():
        from collab import scenario as scenarios
        from collab.deploy.configuration import joining
        from collab.deploy.shutdown import Shutdown
        from collab.standalone import join_run

    how = joining(url, config, site=site, scenario=scenario, patience_s=patience, disk=disk)
    if how.log is not None:
        logs.begin(how.log.level, how.log.format)
    chosen = None if how.scenario is None else scenarios.load(how.scenario, overrides or [])
    name = join_run(
        how.url,
        site=how.site,
        scenario=chosen,
        patience_s=how.patience_s,
        on_joined=lambda site, joined: logs.say(f"{site} takes part in {joined.name}", "joined", site=site),
        egress=replace(how.egress, observer=logs.note_asked if logs.is_written() else None),
        trace_path=trace,
        disk_folder=how.disk,
        shutdown=Shutdown(how.grace_s),
    )
    logs.say(f"{name} is done", "done", site=name)


@app.command()
@ending_cleanly
def schema(
    api: Annotated[
        bool, typer.Option("--api", help="Of what a server offers to its sites instead: OpenAPI 3.1.")
    ] = False,
) -> None:
    """Print the JSON Schema of a scenario file, for editors."""
    if api:
        from collab.api_description import api_description

        print(json.dumps(api_description(), indent=2))
        return
    from collab.scenario import json_schema

    print(json.dumps(json_schema(), indent=2))


def _check_one_of(given: object, config: Path | None, name: str) -> None:
    """Refuse both or neither of an argument and a configuration file. Raises `BadParameter`."""
    if (given is None) == (config is None):
        found = "neither" if given is None else "both"
        raise typer.BadParameter(f"expected {name} or --config, found {found}")


def _present(summary: dict[str, Any], as_json: bool) -> None:
    from collab.console import print_summary

    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        print_summary(summary)


@functools.lru_cache(maxsize=1)
def whole_app() -> typer.Typer:
    """All commands: those of this file, those that have files of their own, and those that other packages add."""
    for name, command in commands.found():
        app.command(name=name)(ending_cleanly(command))
    for group in commands.groups():
        within = typer.Typer(help=group.help, no_args_is_help=True)
        for name, command in group.commands:
            within.command(name=name)(ending_cleanly(command))
        app.add_typer(within, name=group.name)
    for plugin in metadata.entry_points(group="collab.commands"):
        app.command(name=plugin.name)(ending_cleanly(plugin.load()))
    return app


def main() -> None:
    """The entry point of the command."""
    # A closed terminal, a batch system: clean up as after Ctrl-C.
    for ending, handler in ((signal.SIGTERM, terminate), (signal.SIGHUP, signal.default_int_handler)):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # else nohup has asked to go on
            signal.signal(ending, handler)
    whole_app()()


if __name__ == "__main__":
    main()
