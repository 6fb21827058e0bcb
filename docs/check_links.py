"""Every internal link and picture of the built site leads somewhere: `python docs/check_links.py build/docs`.

Of links to other sites only the form is checked: builds and tests need no network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LINKS = {("a", "href"), ("link", "href"), ("img", "src"), ("script", "src")}


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links, pictures and places."""
        for name, value in attrs:
            if value is not None and (tag, name) in _LINKS:
                self.links.append(value)
            elif value and name == "id":
                self.places.add(value)


def dead_links(site: Path) -> Iterator[str]:
    """Each link of the site that leads nowhere, and the page that it stands on."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            known = pages.get(target)
            if not target.exists() or (place and known is not None and place not in known.places):
                yield f"{path.relative_to(site.resolve())}: {link}"


def main() -> None:
    """Print the dead links; the exit code says whether there are any."""
    site = Path(sys.argv[1])
    if not (site / "index.html").is_file():
        sys.exit(f"{site} holds no site; build it with: make docs")
    dead = list(dead_links(site))
    if dead:
        sys.exit("\n".join(["links that lead nowhere:", *dead]))


if __name__ == "__main__":
    main()
