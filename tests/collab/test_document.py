"""Documents are read by libyaml where it is there; what they say, and what is said of mistakes, is the same without."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from collab.document import Document
from collab.errors import ScenarioError

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))

MISTAKES = [
    "a: [1, 2\nb: 3\n",
    "a: b: c\n",
    "\tx: 1\n",
    "a: 'x\n",
    "a: &x 1\nb: *y\n",
    "a: 1\n b: 2\n",
    "a: !!python/object:os.system 1\n",
    "- a\nb: 1\n",
    "a: @x\n",
    "a: \x01\n",
    "? a\n: 1\na",
    'a: "\\q"\n',
    "a: 1\n---\nb: 2\n",
    "%FOO\na: 1",
    "a: 2001-13-45\n",
    "a: \ud800",
    "[" * 5000,
    "- " * 5000,
    "a: {b: 1}\nb: 2\na: 3\n",
    "a: !!python/x 1\nb: 1\nb: 2\n",
    "",
    "- a",
]


def with_libyaml(text):
    document = Document.read(text, "x.yaml")
    return document.data, [document.place((key,)) for key in document.data]


def without(monkeypatch, read):
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    return read()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenarios_say_the_same_in_the_same_lines(monkeypatch, path):
    text = path.read_text(encoding="utf-8")
    fast = with_libyaml(text)
    assert fast == without(monkeypatch, lambda: with_libyaml(text))


def test_merged_keys_stand_where_they_were_written(monkeypatch):
    text = "base: &base {a: 1,\n  b: 2}\nchild:\n  <<: *base\n  b: 3\n"
    document = Document.read(text, "x.yaml")
    assert document.data["child"] == {"a": 1, "b": 3}
    assert document.place(("child", "b")) == "x.yaml:5: child.b"
    slow = without(monkeypatch, lambda: Document.read(text, "x.yaml"))
    assert (slow.data, slow.place(("child", "b"))) == (document.data, "x.yaml:5: child.b")


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: repr(text[:20]))
def test_the_same_is_said_of_a_mistake(monkeypatch, text):
    with pytest.raises(ScenarioError) as fast:
        with_libyaml(text)
    with pytest.raises(ScenarioError) as slow:
        without(monkeypatch, lambda: with_libyaml(text))
    assert str(fast.value) == str(slow.value)
    assert "x.yaml" in str(fast.value)
