"""The fenced blocks and the commands of Markdown pages."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^ *```")
INLINE = re.compile(r"`([^`\n]+)`")
SHELL = ("", "console", "bash")


@dataclass(frozen=True)
class Step:
    """A step that a page gives its reader: one shell command, or a complete snippet."""

    language: str
    text: str


def split_shell_lines(text):
    """Return the commands of a block, each on one line, without comments after them."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    lines = [re.split(r"\s{2,}# ", line)[0].strip() for line in lines]
    return [part for line in lines for part in line.split(" && ") if part and not part.startswith("#")]


def read_steps(page):
    """Return the steps of a page in their order. In running text, only complete commands of germline count."""
    steps, end = [], 0
    for fence in FENCE.finditer(page):
        steps += read_spans(page[end : fence.start()])
        end, body = fence.end(), textwrap.dedent(fence[3])
        steps += (
            [Step("console", line) for line in split_shell_lines(body)] if fence[2] in SHELL else [Step(fence[2], body)]
        )
    return steps + read_spans(page[end:])


def read_spans(text):
    """Return commands in running text, without placeholders in capitals and without commands that are only named."""
    spans = INLINE.findall(text)
    return [Step("console", span) for span in spans if re.match(r"germline [a-z]+ [^A-Z]*$", span)]


def fenced_commands(page):
    """Return the commands of germline in a page's blocks, each on one line."""
    blocks = [fence[3] for fence in FENCE.finditer(page) if fence[2] in SHELL]
    return [line for block in blocks for line in split_shell_lines(block) if line.startswith("germline ")]
