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
    """What a page asks its reader to run: one line of a shell, or a whole snippet."""

    language: str
    text: str


def shell_lines(text):
    """The commands of a block, each on one line, without the remarks behind them."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    lines = [re.split(r"\s{2,}# ", line)[0].strip() for line in lines]
    return [part for line in lines for part in line.split(" && ") if part and not part.startswith("#")]


def read_steps(page):
    """Everything that a page asks to run, in its order; in running text, only whole commands of germline."""
    steps, end = [], 0
    for fence in FENCE.finditer(page):
        steps += read_spans(page[end : fence.start()])
        end, body = fence.end(), textwrap.dedent(fence[3])
        steps += [Step("console", line) for line in shell_lines(body)] if fence[2] in SHELL else [Step(fence[2], body)]
    return steps + read_spans(page[end:])


def read_spans(text):
    """Commands in running text: a name in capitals stands for another one, and a command alone is only named."""
    spans = INLINE.findall(text)
    return [Step("console", span) for span in spans if re.match(r"germline [a-z]+ [^A-Z]*$", span)]


def fenced_commands(page):
    """The commands of germline in a page's blocks, each on one line."""
    blocks = [fence[3] for fence in FENCE.finditer(page) if fence[2] in SHELL]
    return [line for block in blocks for line in shell_lines(block) if line.startswith("germline ")]
