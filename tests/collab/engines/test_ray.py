"""What Ray can never place is told, not waited for."""

from __future__ import annotations

import pytest

from collab.errors import ScenarioError

ray_engine = pytest.importorskip("collab.engines.ray")


def node(cores, gpus=None, *, alive=True):
    resources = {"CPU": float(cores), "memory": 1e9} | ({} if gpus is None else {"GPU": float(gpus)})
    return {"Alive": alive, "Resources": resources if alive else {}}


def complaint(monkeypatch, nodes, threads, gpus):
    monkeypatch.setattr(ray_engine.ray, "nodes", lambda: nodes)
    with pytest.raises(ScenarioError) as caught:
        ray_engine._check_room(threads, gpus)
    return str(caught.value)


def test_more_threads_than_any_node_has_cores(monkeypatch):
    nodes = [node(4), node(8), node(4), node(64, alive=False)]
    assert complaint(monkeypatch, nodes, 16, 0) == (
        "Ray would wait for ever: each computation reserves 16 cores and no GPU on one node (compute.threads and "
        "compute.gpus_per_client), but there are only: 2 nodes with 4 cores and no GPU, 1 node with 8 cores and no "
        "GPU; lower compute.threads to 8, or add a larger node"
    )


@pytest.mark.parametrize(
    ("nodes", "threads", "gpus", "remedy"),
    [
        ([node(4)], 1, 0.5, "leave out compute.gpus_per_client, with compute.device: auto or cpu"),
        ([node(4, 1)], 1, 2, "lower compute.gpus_per_client to 1"),
        ([node(16), node(2, 1)], 8, 0.5, "lower compute.threads or compute.gpus_per_client until one node has both"),
    ],
)
def test_a_share_of_a_gpu_that_no_node_has(monkeypatch, nodes, threads, gpus, remedy):
    assert f"; {remedy}" in complaint(monkeypatch, nodes, threads, gpus)


def test_one_node_that_is_large_enough_will_do(monkeypatch):
    monkeypatch.setattr(ray_engine.ray, "nodes", lambda: [node(1), node(4, 1)])
    ray_engine._check_room(4, 0.25)


@pytest.mark.slow
def test_a_real_ray_is_asked_and_ended():
    with pytest.raises(ScenarioError, match="reserves 1 core and 63 GPU on one node"):
        ray_engine.RayEngine(1, threads=1, gpus=63)
    assert not ray_engine.ray.is_initialized()
