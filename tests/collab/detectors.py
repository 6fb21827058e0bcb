"""Detectors of flow records that were never trained, for tests of what uses them; and flows for them to look at."""

from __future__ import annotations

import numpy as np

from collab.data import ImageSpec
from collab.data.flows.flow_format import FlowFormat
from collab.data.flows.recipe import EVERYWHERE, FlowRecipe
from collab.detector import FORM, About, Detector
from collab.nets import seeded_network
from collab.synthetic_file import Origin, Training

NAMES = ("calm", "flood", "a, scan")
FORMAT = FlowFormat.model_validate({
    "name": "small",
    "columns": ["number", "length", "bytes", "proto", "kind"],
    "features": [
        {"column": "length", "range": [0, 10]},
        {"column": "bytes", "range": [0, 1000], "scale": "log"},
        {"column": "proto", "values": ["tcp", "udp"]},
    ],
    "label": {"column": "kind", "classes": {"calm": ["Calm"], "flood": ["Flood"], "a, scan": ["Port", "Host"]}},
    "benign": "calm",
    "station": {"restarts": "number"},
})  # fmt: skip
FLOWS = 64
"""In a window of `recipe`."""
KINDS = ("Calm", "Flood", "Port", "Host")
TRAINING = Training(
    architecture="convnet", width=8, depth=2, epochs=1, batch_size=4, learning_rate=0.1, momentum=0, weight_decay=0,
    augmentation=(),
)  # fmt: skip


def recipe(**changes):
    """Images of 64 flows, one a row."""
    ranges = {EVERYWHERE: tuple(feature.known_range for feature in FORMAT.features)}
    plain = {"format": FORMAT, "layout": "rows", "side": FLOWS, "windows": "time", "pixels": "grey", "blank": ()}
    return FlowRecipe(**{**plain, "ranges": ranges, **changes})


def detector(made_by, *, benign="calm", seed=5, title="synthetic traffic (a small form)"):
    """A detector with weights as they are drawn, whose images `made_by` makes; none of flow records if None."""
    origin = Origin(
        dataset="flow-csv", title=title, run="one", method="collabdm", scenario="s", scenario_sha256="0" * 64,
        seed=1, expand=1, accuracies={"convnet": 0.5}, training=TRAINING, benign=benign, recipe=made_by,
    )  # fmt: skip
    about = About(form=FORM, class_names=NAMES, seed=seed, training=TRAINING, images=3, trained_on=origin)
    images = ImageSpec(len(NAMES), 1, FLOWS, (0.1,), (0.2,), ())
    return Detector(seeded_network(TRAINING.network(images), seed), images, about)


def write_flows(path, count, seed=0, columns=("number", "length", "bytes", "proto", "kind"), kinds=KINDS):
    """A file of flows that come in runs of a kind, each kind with lengths and bytes of its own; some are missing."""
    draws = np.random.default_rng(seed)
    rows = [",".join(columns)]
    kind = 0
    for number in range(count):
        if draws.random() < 1 / 40:
            kind = int(draws.integers(len(kinds)))
        values = {
            "number": number,
            "length": f"{draws.uniform(0, 3 * kind + 1):.3f}" if draws.random() > 0.1 else "",
            "bytes": int(draws.integers(1, 10 ** (1 + kind % 3))),
            "proto": ("tcp", "udp", "sctp", "")[int(draws.integers(4))],
            "kind": kinds[kind],
        }
        rows.append(",".join(str(values[column]) for column in columns))
    path.write_text("\n".join(rows) + "\n")
    return path
