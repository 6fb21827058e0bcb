"""The arrows of the design point one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Bottom up: a file imports only files above it in this list.
SIMNET = [
    "identity",
    "errors",
    "units",
    "draws",
    "clock",
    "jitter",
    "schedule",
    "routing",
    "topology",
    "builders",
    "pieces",
    "columns",
    "trace",
    "trace_file",
    "comparison",
    "meter",
    "sharing",
    "tcp",
    "window",
    "ledger",
    "limits",
    "rules",
    "zeros",
    "tenancy",
    "auditing",
    "flow",
    "rates",
    "pacing",
    "flows",
    "outages",
    "capacities",
    "verdicts",
    "judged",
    "waiting",
    "refusals",
    "loop",
    "transport",
    "parcels",
    "streams",
    "faults",
    "fault_kinds",
    "devices",
    "profiles",
    "processor",
    "executors",
    "energy",
    "disk",
    "spool",
    "operations",
    "services",
    "door",
    "guards",
    "gates",
    "ingress",
    "sessions",
    "uploads",
    "disk_bodies",
    "partial_bodies",
    "tus",
    "held_uploads",
    "part_operations",
    "resumable",
    "resuming",
    "carriage",
    "bodies",
    "http",
    "wire_size",
    "sized",
    "network",
    "power",
    "simulated",
    "sockets",
    "__init__",
]
COLLAB = [
    "errors",
    "whole_file",
    "file_kinds",
    "process",
    "engines",
    "array_file",
    "quantities",
    "layer",
    "document",
    "complaints",
    "wire",
    "quantisation",
    "half_floats",
    "expectations",
    "compute",
    "content_cache",
    "optimisers",
    "kernels",
    "augment",
    "nets",
    "data",
    "privacy",
    "unrolling",
    "matching",
    "step_plan",
    "network_seeds",
    "embedding_sums",
    "robust_sums",
    "refinement",
    "class_means",
    "class_sums",
    "pooling",
    "gradient_matching",
    "meta_learning",
    "training",
    "ensemble_distillation",
    "method_plugins",
    "methods",
    "evaluation_settings",
    "confusion",
    "evaluation",
    "judging",
    "waiting_settings",
    "limit_settings",
    "agents",
    "link_settings",
    "network_settings",
    "boundary_settings",
    "device_settings",
    "fault_settings",
    "sweep_settings",
    "settings",
    "tenancy_contradictions",
    "network_contradictions",
    "contradictions",
    "plan",
    "extending",
    "editor_schema",
    "scenario",
    "network_file",
    "store",
    "synthetic_file",
    "detector",
    "labelling",
    "auditing",
    "topology_layout",
    "topology_file",
    "results",
    "run_overview",
    "run_comparison",
    "run_listener",
    "logbook",
    "ensemble",
    "run",
    "sweep",
    "replay",
    "chaos",
    "deploy",
    "api_description",
    "reception",
    "standalone",
    "console",
    "sweep_display",
    "progress_bars",
    "options",
    "holdings",
    "costs",
    "forecast",
    "warnings_before_a_run",
    "explaining",
    "picture_style",
    "partition_figure",
    "topology_figure",
    "frames",
    "exports",
    "commands",
    "cli",
    "__init__",
]


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("simnet", ("collab", "analysis", "torch", "prometheus_client")),
        ("collab", ("analysis",)),
        ("analysis", ("torch",)),
    ],
)
def test_packages_point_one_way(package, forbidden):
    for name, path in modules(package):
        for imported in imports(path):
            assert imported.split(".")[0] not in forbidden, f"{name} imports {imported}"


def test_analysis_reads_run_directories_only():
    """Of collab it knows the store and the errors; of simnet the records and the units."""
    records = ("simnet.trace", "simnet.ledger", "simnet.tenancy", "simnet.units", "simnet.errors")
    allowed = ("collab.store", "collab.errors", *records, "analysis")
    for name, path in modules("analysis"):
        for imported in imports(path):
            if imported.split(".")[0] in ("collab", "simnet"):
                assert imported.startswith(allowed), f"{name} imports {imported}"


@pytest.mark.parametrize(("package", "order"), [("simnet", SIMNET), ("collab", COLLAB)])
def test_within_a_package_arrows_point_up_the_list(package, order):
    rank = {room: index for index, room in enumerate(order)}
    found = set()
    for name, path in modules(package):
        room = name.split(".")[1]
        assert room in rank, f"{name} has no place in the list"
        found.add(room)
        for imported in imports(path):
            parts = imported.split(".")
            if parts[0] == package and len(parts) > 1 and parts[1] in rank and parts[1] != room:
                assert rank[parts[1]] < rank[room], f"{name} imports {imported}, which stands below it"
    assert found == set(order)


def test_files_stay_small():
    for package in ("simnet", "collab", "analysis"):
        for name, path in modules(package):
            assert len(path.read_text().splitlines()) <= 400, f"{name} has grown too long: is it still one room?"
