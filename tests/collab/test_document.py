"""Documents are read by libyaml where it is there; what they say, and what is said of mistakes, is the same without."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from collab.document import Document, Key, Layer
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
    assert document.place(("child", "b")) == "x.yaml:5:6: child.b"
    slow = without(monkeypatch, lambda: Document.read(text, "x.yaml"))
    assert (slow.data, slow.place(("child", "b"))) == (document.data, "x.yaml:5:6: child.b")


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: repr(text[:20]))
def test_the_same_is_said_of_a_mistake(monkeypatch, text):
    with pytest.raises(ScenarioError) as fast:
        with_libyaml(text)
    with pytest.raises(ScenarioError) as slow:
        without(monkeypatch, lambda: with_libyaml(text))
    assert str(fast.value) == str(slow.value)
    assert "x.yaml" in str(fast.value)


PLACES = """\
plain: 7
group:
  inner: {flow: [1, two]}
  list:
    - {key: value}
    - word
merged:
  <<: {base: 3}
  own: 4
"""


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ((), "x.yaml:1:1"),
        (("plain",), "x.yaml:1:8: plain"),  # a value: where it begins
        ((Key("plain"),), "x.yaml:1:1: plain"),  # the key itself
        (("group",), "x.yaml:2:1: group"),  # a block: its key
        (("group", "inner"), "x.yaml:3:10: group.inner"),
        (("group", "inner", "flow", 1), "x.yaml:3:21: group.inner.flow.1"),
        (("group", "inner", Key("flow")), "x.yaml:3:11: group.inner.flow"),
        (("group", "inner", "missing"), "x.yaml:3:10: group.inner.missing"),  # as far as there is something
        (("group", "missing", "more"), "x.yaml:2:1: group.missing.more"),
        (("group", "list", 0, "key"), "x.yaml:5:13: group.list.0.key"),
        (("group", "list", 1), "x.yaml:6:7: group.list.1"),
        (("group", "list", 9), "x.yaml:4:3: group.list.9"),
        (("merged", "base"), "x.yaml:8:14: merged.base"),
        (("merged", "own"), "x.yaml:9:8: merged.own"),
    ],
)
def test_a_place_has_line_and_column(where, place):
    assert Document.read(PLACES, "x.yaml").place(where) == place


def test_of_layers_the_first_wins_and_each_part_stands_where_it_was_given():
    above = Layer.read("group: {a: 1}\nlist: [5]\nword: {more: 2}\n", "above.yaml")
    below = Layer.read("group: {a: 7, b: 8}\nlist: [6, 7]\nword: short\nonly: 9\n", "below.yaml")
    document = Document.of([above, below], ["group.c=3"], {"word": "kind"})
    assert document.data == {
        "group": {"a": 1, "b": 8, "c": 3},
        "list": [5],
        "word": {"kind": "short", "more": 2},
        "only": 9,
    }
    assert document.place(("group", "a")) == "above.yaml:1:12: group.a"
    assert document.place(("group", "b")) == "below.yaml:1:18: group.b"
    assert document.place(("group", "c")) == "--set group.c=3"
    assert document.place(("list", 1)) == "above.yaml:2:7: list.1"  # the list below is replaced, not joined
    assert document.place(("word", "kind")) == "below.yaml:3:7: word.kind"
    assert document.place(("word", "more")) == "above.yaml:3:14: word.more"
    assert document.source_of(("only",)) == "below.yaml"
    assert document.source_of(("group", "c")) is None
    assert document.source_of(("nothing",)) is None
