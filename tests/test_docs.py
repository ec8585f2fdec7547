"""Documentation: links and names resolve, and every method has a page of limited length."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import typer

import germline as gl
from germline.cli import app
from germline.compare.recipe import sections as recipe_sections
from germline.compare.recipe.text import list_packaged_recipes
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


@pytest.mark.parametrize("name", ["tleg", "lets", "front", "gtl", "pool", "auto", "openworld", "grow", "baselines"])
def test_method_pages_are_short_and_complete(name):
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
    assert len(page.split()) <= 1200
    if name in METHODS:
        assert [f"## {part}" in page for part in ("Idea", "Commands", "Settings", "What it can grow")] == [True] * 4
        assert METHODS[name].paper in page.split("## Idea")[0]


def test_readme_and_docs_have_limited_length():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")]
    # Tables of results and of the reference are not running text.
    table = re.compile(r"<!-- (?:results|options|commands|keys|recipes|names): .*? -->\n(?:\|.*\n)*")
    assert sum(len(table.sub("", page).split()) for page in pages) <= 32_000


def test_references_name_every_command_section_and_public_name():
    reference = ROOT / "docs" / "reference"
    commands = typer.main.get_command(app).commands
    page, place = (reference / "commands.md").read_text(), recipe_sections.__name__
    documented = re.findall(r"<!-- options: (\S+) -->", page)
    assert documented == re.findall(r"(?m)^## germline (\S+)$", page)
    assert set(documented) == set(commands)
    own = {name: value for name, value in vars(recipe_sections).items() if getattr(value, "__module__", "") == place}
    sections = {name for name, value in own.items() if isinstance(value, type)}
    sections -= {"RecipeSection"}
    assert set(re.findall(r"<!-- keys: (\S+) -->", (reference / "recipes.md").read_text())) >= sections - {
        "RecipeSection"
    }
    names = re.findall(r"<!-- api: germline\.(\S+) -->", (reference / "api.md").read_text())
    assert sorted(names) == sorted(set(gl.__all__) - {"data"})


def test_site_has_every_page():
    navigation = re.findall(r"(?m): (\S+\.md)$", (ROOT / "mkdocs.yml").read_text())
    docs = ROOT / "docs"
    pages = [page.relative_to(docs).as_posix() for page in docs.rglob("*.md")]
    # tools/site_hooks.py makes a page of each notebook.
    pages += [page.relative_to(docs).with_suffix(".md").as_posix() for page in docs.rglob("*.ipynb")]
    assert sorted(navigation) == sorted(pages)


def test_imports_of_python_examples_work():
    blocks = [b for page in PAGES for b in re.findall(r"(?s)```python\n(.*?)```", page.read_text(encoding="utf-8"))]
    imports = ["\n".join(re.findall(r"(?m)^(?:import|from) .*$", block)) for block in blocks]
    assert "import germline as gl" in imports
    for lines in imports:
        exec(lines, {})


# Entry-point groups look like names of modules.
GROUPS = {"germline.methods", "germline.anatomies", "germline.data"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_of_code_recipes_and_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"`(germline(?:\.\w+)+)`", text)) - GROUPS:
        place, _, last = name.rpartition(".")
        assert hasattr(import_module(place), last) or import_module(name), name
    recipes = set(list_packaged_recipes())
    assert set(re.findall(r"\b((?:lab|paper)/\w[\w-]*)(?![\w*-])", text)) - recipes == set()
    for path in re.findall(r"`((?:src|tests|tools|examples|benchmarks)/[\w./-]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path
