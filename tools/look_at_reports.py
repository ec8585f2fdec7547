"""Look at reports in a headless browser: screenshots, faults that axe-core finds, and requests.

    python tools/look_at_reports.py --axe node_modules/axe-core/axe.min.js --out looked benchmarks/results/any-size.json

Each page is opened 400 and 1,400 pixels wide, light and dark, and without scripts. The command fails if axe-core finds
a serious or critical fault, or if a page is wider than the window. It also fails if a script fails or if a request
leaves the page.

It needs playwright (`pip install playwright`), Chromium, and axe-core (`npm install axe-core`).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from germline.compare.report.report import write_results_page

WIDTHS, SCHEMES, SERIOUS = (400, 1400), ("light", "dark"), ("serious", "critical")
MAX_HEIGHT = 8000  # pixels of a screenshot


def look_at_page(browser: Any, page: Path, out: Path, axe: str) -> list[str]:
    """Write screenshots of a page, and return its faults."""
    faults: list[str] = []
    for width, scheme in product(WIDTHS, SCHEMES):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        name = f"{page.stem}-{width}-{scheme}"
        faults += [f"{name}: {fault}" for fault in look_once(context.new_page(), page, out / f"{name}.png", axe)]
        context.close()
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1400, "height": 900})
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.screenshot(path=out / f"{page.stem}-without-scripts.png")
    context.close()
    return faults


def look_once(tab: Any, page: Path, image: Path, axe: str) -> list[str]:
    """Write one screenshot and return the faults of the page at this width."""
    faults: list[str] = []
    tab.on("request", lambda request: None if is_own(request) else faults.append(f"request: {request.url}"))
    tab.on("pageerror", lambda error: faults.append(f"script: {error}"))
    tab.goto(page.as_uri())
    width, height = tab.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    whole = {"x": 0, "y": 0, "width": width, "height": min(MAX_HEIGHT, height)}
    tab.screenshot(path=image, full_page=True, clip=whole)
    if tab.evaluate("document.documentElement.scrollWidth") > width:
        faults.append("the page is wider than the window")
    return faults + find_axe_faults(tab, axe) + try_controls(tab)


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
