"""`collab train-detector`: a network that learns from a synthetic set, as a file that suffices on its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from collab.options import RUNS_DIR, AsJson, DeviceName, MethodName, RunsDir, method_of

if TYPE_CHECKING:
    from collab.synthetic_file import GlobalSet, Training

_OF_THE_RUN = "That of the run's judging if not given."


def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SET.npz|RUN", help="What export-synthetic wrote; or a run's directory or name.", show_default=False
        ),
    ],
    method: MethodName = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("detector.safetensors"),
    architecture: Annotated[
        Literal["convnet", "alexnet", "vgg11", "resnet18"] | None,
        typer.Option(help=f"The network. {_OF_THE_RUN}", show_default=False),
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Filters per block of a ConvNet.", show_default=False)
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, max=5, help="Blocks of a ConvNet.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the set.", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step.", show_default=False)] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="At its start.", show_default=False)] = None,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="By the data set's strategy, if judging did so.")
    ] = True,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="The run's if not given.", show_default=False)
    ] = None,
    device: DeviceName = "auto",
    runs_dir: RunsDir = RUNS_DIR,
    as_json: AsJson = False,
) -> None:
    """Train one network on a synthetic set, as judging does, and write it with all that it takes to use it."""
    from pydantic import ValidationError

    from collab import detector
    from collab.compute import pick_device, reporting_to
    from collab.progress_bars import progress_bars
    from collab.synthetic_file import Training
    from collab.whole_file import new_file

    whole = _set_of(source, method, runs_dir)
    chosen = {
        "architecture": architecture, "width": width, "depth": depth, "epochs": epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "augmentation": None if augment else (),
    }  # fmt: skip
    changes = {name: value for name, value in chosen.items() if value is not None}
    try:
        training = Training.model_validate({**whole.origin.training.model_dump(), **changes})
    except ValidationError as error:  # beyond what typer checks: a learning rate of 0, or none
        first = error.errors()[0]
        raise typer.BadParameter(f"{first['loc'][0]}: {first['msg']}, found {first['input']}") from error
    training.network(whole.spec)  # images that are too small for it are noticed before anything is written
    drawn = whole.origin.seed if seed is None else seed
    with new_file(out) as partial:
        with progress_bars() as told, reporting_to(lambda what, done, total: told(what, done, total, "epochs")):
            made = detector.train(whole, training, drawn, pick_device(device))
        detector.write(made, partial)
    facts = {"file": str(out), "size_bytes": out.stat().st_size, **made.about.model_dump(mode="json")}
    print(json.dumps(facts, indent=1, ensure_ascii=False) if as_json else _in_words(facts, training))


def _set_of(source: str, method: str | None, runs_dir: Path) -> GlobalSet:
    from collab import synthetic_file
    from collab.store import find_run

    if not source.endswith(".npz"):
        found = find_run(source, runs_dir)
        return synthetic_file.of_run(found, method_of(found, method))
    if method is not None:
        raise typer.BadParameter(f"--method chooses one of a run; {source} is of one already")
    return synthetic_file.read(Path(source))


def _in_words(facts: dict[str, Any], training: Training) -> str:
    from simnet.units import format_size

    origin = facts["trained_on"]
    size = f" of width {training.width} and depth {training.depth}" if training.architecture == "convnet" else ""
    lines = [
        f"{training.architecture}{size}, seed {facts['seed']}, epochs: {training.epochs}, images: {facts['images']}",
        f"trained on {origin['title']}, distilled by {origin['method']} in the run {origin['run']}",
        f"classes: {', '.join(facts['class_names'])}",
    ]
    if origin["recipe"] is None:
        lines.append("these images are not made of flow records: collab detect has no use for it")
    return "\n".join([*lines, f"written to {facts['file']}, {format_size(facts['size_bytes'])}"])
