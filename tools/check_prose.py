"""Check the English of code, tests, docs and recipes: unclear words, also in names, long sentences, empty docstrings.

    python tools/check_prose.py                 # all places that .ci/run checks
    python tools/check_prose.py src/germline/data README.md

Prints `file:line: problem` for each place and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("src", "tests", "docs", "examples", "tools", "benchmarks", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
SKIPPED = {"tools/check_prose.py"}
# Folders of stored files, which keep their text.
STORED = {"packs", "golden"}
# A stored result contains this name.
KEPT_NAMES = {"test_failures_are_told_apart"}
MAX_WORDS = 25
# Words that keep readers out. Each has a plain synonym: image, saved, is, ancestor, fix, continues, per class, around.
UNCLEAR = re.compile(
    r"\b(begun|stands?|stood|told|tells? of|mend(s|ed|ing)?|elders?|at hand|held against|whereof|thereof|goes on|"
    r"of which|be it|behind one's back|stand round|looked at while|pictures?|comes to|came to|nowhere|nobody|alike but|"
    r"(images|samples|steps) a (class|step|run)|round (the|a|an|its?|them|each|which|that)|the house|hold(s)? us to|"
    r"is no more than|as it was|be said|is said|says? so|has to be|what .{1,30} comes to)\b",
    re.IGNORECASE,
)
EMPTY = re.compile(r"^(Any|Itself|Set up|None|Nothing|See above|Of the \w+|The same|As above)\.?$", re.IGNORECASE)
Text = tuple[int, str]


def texts_of_python(path: Path) -> Iterator[Text]:
    """Docstrings, comments and the text of raised errors, help texts and other long strings, with their lines."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=True)
            if text:
                yield node.body[0].lineno, text
        elif isinstance(node, ast.Call):
            for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                if text := _literal(value):
                    yield value.lineno, text
        elif isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant) and _literal(node.value):
            yield node.value.lineno, str(node.value.value)
    start, last, comment = 0, -1, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("#!", "# noqa", "# type:")):
            is_trailing = token.line[: token.start[1]].strip() != ""
            if comment and (is_trailing or token.start[0] != last + 1):
                yield start, comment
                comment = ""
            text = token.string.lstrip("#").split("noqa:")[0].strip(" #")
            start, comment = (start, f"{comment} {text}") if comment else (token.start[0], text)
            last = -1 if is_trailing else token.start[0]
    if comment:
        yield start, comment


def names_of_python(source: str) -> Iterator[Text]:
    """Names of functions and classes, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name not in KEPT_NAMES:
            yield node.lineno, node.name


def _literal(node: ast.expr) -> str:
    """The text of a string or f-string of at least three words; empty for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values)
    else:
        return ""
    return text if len(text.split()) >= 3 else ""


def texts_of_markdown(path: Path) -> Iterator[Text]:
    """Paragraphs and list items, without code blocks, tables and comments."""
    lines, fenced, start, gathered = path.read_text(encoding="utf-8").splitlines(), False, 0, ""
    for number, line in enumerate([*lines, ""], start=1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        plain = not (fenced or fence or line.lstrip().startswith(("|", "<!--", "    ", "![")))
        item = re.match(r"\s*([-*] |\d+\. |#+ )", line)
        if gathered and (not plain or not line.strip() or item):
            yield start, gathered
            gathered = ""
        if plain and line.strip():
            start, gathered = (start, f"{gathered} {line.strip()}") if gathered else (number, line.strip())


def texts_of_yaml(path: Path) -> Iterator[Text]:
    """Comments, titles and notes."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if "#" in line or re.match(r"\s*(title|note|about|question):", line):
            yield number, line.partition("#")[2] or line.partition(":")[2]


def sentences(text: str) -> Iterator[str]:
    """Sentences of a text; each entry of a docstring's sections and each list item is one of its own."""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\w[\w, ]*: ))", text):
        joined = re.sub(r"`[^`]*`", "X", re.sub(r"\s+", " ", block))
        joined = re.sub(r"\]\([^)]*\)", "]", joined)
        yield from re.split(r"(?<=[.!?])\s+(?=[A-Z`\"'(\[])", joined)


def problems(path: Path) -> Iterator[tuple[int, str]]:
    """Line and problem of every place in one file."""
    if path.suffix == ".py":
        for line, name in names_of_python(path.read_text(encoding="utf-8")):
            for match in UNCLEAR.finditer(re.sub(r"_+", " ", name)):
                yield line, f"unclear word '{match[0]}' in the name {name}"
    kind = {".py": texts_of_python, ".md": texts_of_markdown}.get(path.suffix, texts_of_yaml)
    for line, text in kind(path):
        plain = re.sub(r"`[^`]*`", "", text)
        for match in UNCLEAR.finditer(plain):
            yield line, f"unclear word '{match[0]}'"
        if EMPTY.match(text.strip()):
            yield line, f"says nothing: '{text.strip()}'"
        for entry in re.findall(r"(?m)^\s*(\w+): (Of (?:the|a|an|its|each) [^.]*\.)\s*$", text):
            yield line, f"does not read alone: '{entry[0]}: {entry[1]}'"
        for sentence in sentences(text):
            words = len(re.findall(r"[A-Za-z0-9][\w'.%/+-]*", sentence))
            if words > MAX_WORDS and re.search(r"[.,;:]", sentence):
                yield line, f"{words} words: '{sentence[:60]}...'"


def files(places: list[str]) -> Iterator[Path]:
    """The files to check below the given places."""
    for place in places or PLACES:
        path = (ROOT / place) if not Path(place).is_absolute() else Path(place)
        found = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
        for file in found:
            name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
            if file.suffix in {".py", ".md", ".yaml"} and name not in SKIPPED and not STORED & set(file.parts):
                yield file


def main() -> int:
    """Print every problem; 1 if there is one."""
    count = 0
    for file in files(sys.argv[1:]):
        for line, problem in problems(file):
            count += 1
            print(f"{file.relative_to(ROOT) if file.is_relative_to(ROOT) else file}:{line}: {problem}")
    print(f"{count} problems", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main())
