"""Hooks of mkdocs: the Markdown of `docs` is read on a forge as it is, and these adapt it to the site.

- A link to a file outside `docs`, such as a script or a result, gets a copy of the file in the site.
- `<!-- api: germline.TLEG -->` becomes the reference of that name or module, by mkdocstrings.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Copies of files outside `docs` are below this folder of the site.
COPIES = "files"
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)\)")
API = re.compile(r"(?m)^<!-- api: ([\w.]+) -->$")


def _outside(page: str, target: str) -> str:
    """Return the path in the repository that a link leads to, if it is a file outside `docs`; else an empty text."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return "" if path.startswith("docs/") or not (ROOT / path).is_file() else path


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside `docs` that pages link to."""
    for page in list(files.documentation_pages()):
        for target in LINK.findall(page.content_string):
            path = _outside(page.src_uri, target)
            if path and f"{COPIES}/{path}" not in files.src_uris:
                files.append(File.generated(config, f"{COPIES}/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to the copies, and ask for the API reference."""
    source = page.file.src_uri

    def lead(match: re.Match[str]) -> str:
        path = _outside(source, match[1])
        if not path:
            return match[0]
        return f"]({posixpath.relpath(f'{COPIES}/{path}', posixpath.dirname(source) or '.')})"

    return API.sub(r"::: \1", LINK.sub(lead, markdown))
