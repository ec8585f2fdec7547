"""Hooks of mkdocs: the Markdown of `docs` is read on a forge as it is, and these adapt it to the site.

- A link to a file outside `docs`, such as a script or a result, gets a copy of the file in the site.
- A notebook becomes a page, with a link to the notebook itself.
- `<!-- api: germline.TLEG -->` becomes the reference of that name or module, by mkdocstrings.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Copies of files outside `docs` are below this folder of the site.
COPIES = "files"
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)\)")
NOTEBOOK = re.compile(r"\]\(([^):]+)\.ipynb\)")
API = re.compile(r"(?m)^<!-- api: ([\w.]+) -->$")


def _outside(page: str, target: str) -> str:
    """Return the path in the repository that a link leads to, if it is a file outside `docs`; else an empty text."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return "" if path.startswith("docs/") or not (ROOT / path).is_file() else path


def _page_of_notebook(path: Path) -> str:
    """Return the cells of a notebook as Markdown."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*parts, f'<a href="{path.name}" download>The notebook</a>', ""])


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside `docs` that pages link to, and a page for every notebook."""
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        place = path.relative_to(ROOT / "docs").with_suffix(".md").as_posix()
        files.append(File.generated(config, place, content=_page_of_notebook(path)))
    for page in list(files.documentation_pages()):
        for target in LINK.findall(page.content_string):
            path = _outside(page.src_uri, target)
            if path and f"{COPIES}/{path}" not in files.src_uris:
                files.append(File.generated(config, f"{COPIES}/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to the copies and to the pages of notebooks, and ask for the API reference."""
    source = page.file.src_uri

    def lead(match: re.Match[str]) -> str:
        path = _outside(source, match[1])
        if not path:
            return match[0]
        return f"]({posixpath.relpath(f'{COPIES}/{path}', posixpath.dirname(source) or '.')})"

    return API.sub(r"::: \1", NOTEBOOK.sub(r"](\1.md)", LINK.sub(lead, markdown)))
