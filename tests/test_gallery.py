"""The gallery: every figure is on its page, and the page's numbers equal the stored results."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")


def test_page_shows_every_figure_with_a_text_alternative():
    figures = re.findall(
        r'(?m)^    "(gallery-\w+)": ', (ROOT / "tools" / "gallery_figures.py").read_text(encoding="utf-8")
    )
    figure_by_text = dict(re.findall(r"!\[(.{20,}?)\]\(images/(gallery-\w+)\.svg\)", PAGE))
    assert sorted(figure_by_text.values()) == sorted(figures)
    assert all((ROOT / "docs" / "images" / f"{name}.svg").is_file() for name in figures)


def test_page_numbers_equal_the_results():
    numbers = json.loads((ROOT / "benchmarks" / "results" / "gallery.json").read_text(encoding="utf-8"))
    ancestor, shuffled = (numbers["front"]["spectra"][name]["depth"][0] for name in ("ancestor", "shuffled"))
    assert f"{100 * ancestor:.1f} % against {100 * shuffled:.1f} % along depth" in " ".join(PAGE.split())
    (final,) = (gene for gene in numbers["gtl"]["gene_tree"] if gene["final"])
    assert f"The saved gene appears in generation {final['generation']}." in PAGE
    assert len([gene for gene in numbers["gtl"]["gene_tree"] if gene["generation"] == 0]) == 9
    assert len(numbers["tleg"]["lines"]) == 7
