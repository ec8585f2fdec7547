"""Build the documentation site strictly, and check the built pages. Needs the extra `docs`.

    python tools/check_site.py             # build into build/site and check
    python tools/check_site.py --no-build  # check what is there

Faults are dead links and anchors, requests to other servers, pages without a title, and Markdown that was not rendered.
Prints the numbers of pages and links. Exits with 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "site"
# Attributes whose file a browser requests at once.
REQUESTED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
LOADED = {"stylesheet", "icon", "preload", "preconnect", "modulepreload"}
RAW = re.compile(r"(?m)^\s*([-*] \w|\|.+\|$|```|::: |#{2,} )")
MIN_PAGES = 45


class PageParser(HTMLParser):
    """Gathers what one page links to, requests, offers as anchors, and shows as paragraphs.

    Attributes:
        links: Targets of links.
        requests: Addresses that a browser requests when it shows the page.
        anchors: Anchors that links can lead to.
        paragraphs: Text of each paragraph.
        title: Text of the title.
    """

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.requests: list[str] = []
        self.anchors: set[str] = set()
        self.paragraphs: list[str] = []
        self.title = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in REQUESTED and values.get(REQUESTED[tag]):
            self.requests.append(values[REQUESTED[tag]])
        if tag == "link" and LOADED & set(values.get("rel", "").split()):
            self.requests.append(values.get("href", ""))
        if tag in ("p", "title", "code"):
            self._inside = tag
            if tag == "p":
                self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "title"):
            self._inside = ""
        if tag == "code":
            self._inside = "p"

    def handle_data(self, data: str) -> None:
        if self._inside == "p" and self.paragraphs:
            self.paragraphs[-1] += data
        if self._inside == "title":
            self.title += data


def read_pages(site: Path) -> dict[Path, PageParser]:
    """Parse every page of a built site."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = PageParser()
        pages[path].feed(path.read_text(encoding="utf-8"))
    return pages


def find_faults(site: Path, pages: dict[Path, PageParser]) -> Iterator[str]:
    """Describe every fault of the pages."""
    for path, page in pages.items():
        name = str(path.relative_to(site))
        if not page.title.strip():
            yield f"{name}: no title"
        for address in page.requests:
            if urlsplit(address).netloc:
                yield f"{name}: requests {address}"
        for paragraph in page.paragraphs:
            if raw := RAW.search(paragraph):
                yield f"{name}: not rendered: '{raw[0].strip()[:50]}'"
        if name == "404.html":  # its links start at the root of the server
            continue
        for target in (*page.links, *page.requests):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = place / "index.html" if place.is_dir() else place
            if not place.is_file():
                yield f"{name}: dead link {target}"
            elif parts.fragment and place in pages and unquote(parts.fragment) not in pages[place].anchors:
                yield f"{name}: dead anchor {target}"
    for path in (*site.rglob("*.css"), *site.rglob("*.js")):
        if "fonts.googleapis" in path.read_text(encoding="utf-8"):
            yield f"{path.relative_to(site)}: requests fonts of another server"


def main() -> int:
    """Build and check; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-build", action="store_true")
    if not parser.parse_args().no_build:
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(SITE)]
        built = subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
        if built.returncode:
            return 1
    pages = read_pages(SITE)
    faults = list(find_faults(SITE, pages))
    print("\n".join(faults), file=sys.stderr, end="\n" if faults else "")
    if len(pages) < MIN_PAGES:
        faults.append("pages are missing")
    links = sum(len(page.links) for page in pages.values())
    outside = sum(bool(urlsplit(link).netloc) for page in pages.values() for link in page.links)
    print(f"{len(pages)} pages, {links} links ({outside} to other servers), {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
