from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from collab.holdings import Holdings
from collab.partition_figure import MOST_BUBBLES, draw

SVG = "{http://www.w3.org/2000/svg}"


def make(counts, sites=None):
    return Holdings(tuple(f"client-{i}" for i in range(len(counts))), np.array(counts), sites)


def skewed(clients, classes):
    return np.random.default_rng(0).integers(0, 40, (clients, classes)) ** 2


def drawn(tmp_path, holdings):
    path = tmp_path / "picture.svg"
    draw(holdings, path, title="a title")
    return path, [element.text or "" for element in ElementTree.parse(path).iter(f"{SVG}text")]


def bubbles(path):
    """The bubbles: shapes of a collection that are used, one each."""
    collection = next(
        group for group in ElementTree.parse(path).iter(f"{SVG}g") if group.get("id", "").startswith("PathCollection")
    )
    return [*collection.iter(f"{SVG}use"), *(path for path in collection.iter(f"{SVG}path") if path.get("style"))]


def test_a_few_clients_stand_with_names_and_numbers(tmp_path):
    path, words = drawn(tmp_path, make([[1200, 0, 7], [0, 3, 0]]))
    for word in ("a title", "client-0", "client-1", "1,200", "7", "3", "1,207", "class", "in all"):
        assert word in words
    assert (
        "1,210 samples of 3 classes at 2 clients · label skew 0.00 (by chance 0.00) · Gini coefficient of sizes 0.50"
        in words
    )
    assert "0" in words  # the class, for no bubble says so
    assert len(bubbles(path)) == 3


def test_sites_are_called_by_their_names(tmp_path):
    _, words = drawn(tmp_path, make([[1, 2], [3, 4]], ("north", "south")))
    assert "north" in words
    assert "client-0" not in words


def test_a_hundred_clients_are_numbered(tmp_path):
    path, words = drawn(tmp_path, make(skewed(100, 10)))
    assert "number of the client" in words
    assert "98" in words
    assert len(bubbles(path)) == np.count_nonzero(skewed(100, 10))


def test_a_thousand_clients_are_sorted_and_shaded(tmp_path):
    counts = skewed(1000, 10)
    counts[500] = 0
    path, words = drawn(tmp_path, make(counts))
    assert len(counts) > MOST_BUBBLES
    assert "clients, sorted by the class of which they hold most" in words
    assert any(word.endswith("1 holds nothing") for word in words)
    assert len(list(ElementTree.parse(path).iter(f"{SVG}image"))) == 2  # the shades, and their key


@pytest.mark.parametrize("counts", [[[3]], [[0, 0]], skewed(3, 120), np.zeros((200, 3), dtype=int)])
def test_odd_shapes(tmp_path, counts):
    _, words = drawn(tmp_path, make(counts))
    assert "class" in words


def test_the_picture_is_the_same_each_time(tmp_path):
    first = drawn(tmp_path, make(skewed(5, 10)))[0].read_bytes()
    assert drawn(tmp_path, make(skewed(5, 10)))[0].read_bytes() == first


def test_a_png(tmp_path):
    draw(make(skewed(5, 10)), tmp_path / "a.png", title="a title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
