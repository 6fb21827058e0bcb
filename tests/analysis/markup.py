"""What is asked of the HTML of pages."""

from __future__ import annotations

from html.parser import HTMLParser


class _Balance(HTMLParser):
    def __init__(self, void):
        super().__init__()
        self.void, self.open = void, []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def assert_well_formed(html, void=frozenset()):
    """Every element is closed, in the right order; those called `void` have no end."""
    balance = _Balance(void)
    balance.feed(html)
    assert balance.open == []
