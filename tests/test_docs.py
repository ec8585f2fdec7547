"""Documentation: links resolve, and every method has a page of limited length."""

import re
from pathlib import Path

import pytest

from germline.registry import METHODS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def headings(page):
    """Anchors of a page's headings, as forges make them."""
    lines = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8")).splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    text = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
    for target, anchor in LINK.findall(text):
        if target.startswith(("http://", "https://")):
            continue
        place = (page.parent / target).resolve()
        assert place.exists(), target
        if anchor:
            assert anchor[1:] in headings(place), target + anchor


@pytest.mark.parametrize("name", ["tleg", "gtl", "pool", "auto", "openworld", "baselines"])
def test_method_pages_are_short_and_complete(name):
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
    assert len(page.split()) <= 1200
    if name in METHODS:
        assert [f"## {part}" in page for part in ("Idea", "Commands", "Settings", "What it can grow")] == [True] * 4
        assert "arXiv" in page.split("## Idea")[0]


def test_readme_and_docs_have_limited_length():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
    assert sum(len(page.read_text(encoding="utf-8").split()) for page in (ROOT / "docs").rglob("*.md")) <= 24_000
