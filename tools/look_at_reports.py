"""Look at reports in a headless browser: screenshots, faults that axe-core finds, and requests.

    python tools/look_at_reports.py --axe node_modules/axe-core/axe.min.js --out looked benchmarks/results/any-size.json

Each page is opened 400 and 1,400 pixels wide, light and dark, and without scripts. The command fails if axe-core finds
a serious or critical fault, if a page is wider than the window, if a script fails, or if a request leaves the page.

It needs playwright (`pip install playwright`), Chromium, and axe-core (`npm install axe-core`).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from germline.compare.report.report import write_results_page

WIDTHS, SCHEMES, SERIOUS = (400, 1400), ("light", "dark"), ("serious", "critical")
MAX_HEIGHT = 8000  # pixels of a screenshot


def look_at_page(browser: Any, page: Path, out: Path, axe: str) -> list[str]:
    """Write screenshots of a page, and return its faults."""
    faults: list[str] = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            name = f"{page.stem}-{width}-{scheme}"
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            tab = context.new_page()
            tab.on("request", lambda request: faults.append(f"request: {request.url}") if not is_own(request) else None)
            tab.on("pageerror", lambda error, name=name: faults.append(f"{name}: script: {error}"))
            tab.goto(page.as_uri())
            height = min(MAX_HEIGHT, tab.evaluate("document.documentElement.scrollHeight"))
            whole = {"x": 0, "y": 0, "width": width, "height": height}
            tab.screenshot(path=out / f"{name}.png", full_page=True, clip=whole)
            if tab.evaluate("document.documentElement.scrollWidth") > width:
                faults.append(f"{name}: the page is wider than the window")
            faults += [f"{name}: {fault}" for fault in find_axe_faults(tab, axe)]
            faults += [f"{name}: {fault}" for fault in try_controls(tab)]
            context.close()
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1400, "height": 900})
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.screenshot(path=out / f"{page.stem}-without-scripts.png")
    context.close()
    return faults


def is_own(request: Any) -> bool:
    """Return whether a request is the page itself."""
    return bool(request.is_navigation_request() and request.url.startswith("file:"))


def find_axe_faults(tab: Any, axe: str) -> list[str]:
    """Run axe-core and return its serious faults; print the others."""
    tab.evaluate(axe)
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations)")
    texts = []
    for one in found:
        text = f"axe {one['impact']}: {one['id']}, {len(one['nodes'])} places, such as {one['nodes'][0]['html'][:120]}"
        if one["impact"] in SERIOUS:
            texts.append(text)
        else:
            print(f"  {text}")
    return texts


def try_controls(tab: Any) -> list[str]:
    """Sort a table with the keyboard, and read a value of a figure; return what does not work."""
    faults = []
    button = tab.locator("th button").first
    if button.count():
        button.focus()
        tab.keyboard.press("Enter")
        if tab.locator("th[aria-sort=ascending]").count() != 1:
            faults.append("the table is not sorted")
    figure = tab.locator("svg[tabindex]").first
    if figure.count():
        figure.focus()
        tab.keyboard.press("ArrowRight")
        if not tab.locator("#value").inner_text():
            faults.append("the figure shows no value")
    return faults


def main() -> int:
    """Look at all pages; return 1 if there is a fault."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="results of comparisons (.json), or pages (.html)")
    parser.add_argument("--axe", type=Path, required=True, help="axe.min.js of axe-core")
    parser.add_argument("--out", type=Path, required=True, help="folder of the screenshots")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    axe, faults = arguments.axe.read_text(encoding="utf-8"), []
    chromium = shutil.which("chromium")
    with sync_playwright() as engine, tempfile.TemporaryDirectory() as folder:
        browser = engine.chromium.launch(executable_path=chromium) if chromium else engine.chromium.launch()
        for file in arguments.files:
            page = file.resolve()
            if file.suffix == ".json":
                page = Path(folder) / f"{file.stem}.html"
                write_results_page(file, page)
            print(file.name, flush=True)
            faults += look_at_page(browser, page, arguments.out, axe)
        browser.close()
    print("\n".join(dict.fromkeys(faults)) or "no faults, no requests")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
