"""Search the built site in a headless browser, opened as files: results, and requests to servers.

    python tools/check_site.py && python tools/look_at_site.py

It needs playwright (`pip install playwright`) and Chromium. It fails if a query finds no page, or if a result leads to
none. It also fails if a script fails, or if a request leaves the folder of the site.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

SITE = Path(__file__).resolve().parents[1] / "build" / "site"
# By page that is opened: what is typed, and a page that is among the results.
QUERIES = {
    "index.html": ("descendant", "concepts.html"),
    "methods/tleg.html": ("torchrun", "how-to/cluster.html"),
    "how-to/cluster.html": ("EWC", "methods/openworld.html"),
}


def search_page(browser: Any, page: Path, query: str, expected: str) -> tuple[int, list[str]]:
    """Type a query on a page; return the number of results and the faults."""
    faults: list[str] = []
    tab = browser.new_page()
    tab.on("request", lambda request: None if is_own(request) else faults.append(f"request: {request.url}"))
    tab.on("pageerror", lambda error: faults.append(f"script: {error}"))
    tab.goto(page.as_uri())
    tab.keyboard.press("/")
    tab.keyboard.type(query)
    links = tab.locator(".md-search-result__link")
    try:
        links.first.wait_for(timeout=30_000)
    except Exception as error:
        return 0, [*faults, f"'{query}' finds nothing: {str(error).splitlines()[0]}"]
    found = [link.split("?")[0].split("#")[0] for link in links.evaluate_all("all => all.map(link => link.href)")]
    if (SITE / expected).as_uri() not in found:
        faults.append(f"'{query}' does not find {expected}")
    links.first.click()
    tab.wait_for_load_state()
    if "Not Found" in tab.title() or not tab.locator("article h1").count():
        faults.append(f"the first result of '{query}' leads to no page")
    tab.close()
    return len(found), faults


def is_own(request: Any) -> bool:
    """Return whether a request is for a file of the site, or needs none."""
    return bool(request.url.startswith((SITE.as_uri(), "data:", "about:", "blob:")))


def main() -> int:
    """Search; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    from playwright.sync_api import sync_playwright

    count = 0
    with sync_playwright() as player:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = player.chromium.launch(executable_path=chromium)
        for name, (query, expected) in QUERIES.items():
            results, faults = search_page(browser, SITE / name, query, expected)
            print("\n".join((f"{name}: '{query}' has {results} results", *faults)))
            count += len(faults)
        browser.close()
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main())
