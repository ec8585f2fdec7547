"""Print the table of bad inputs and the messages that germline answers with, as Markdown.

    python tools/print_bad_input.py

Runs tests/cli/test_bad_input.py once (about a minute) and prints one row per case.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Print the table; 1 if a case fails."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "cases.xml")
        command = [sys.executable, "-m", "pytest", "-q", "tests/cli/test_bad_input.py", f"--junit-xml={record}"]
        code = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode
        cases = list(ElementTree.parse(record).iter("testcase"))
    print("| case | message |\n|---|---|")
    for case in cases:
        message = next((item.get("value", "") for item in case.iter("property")), "")
        if message:
            name = case.get("name", "").partition("[")[2].rstrip("]")
            print(f"| {name} | {message.removeprefix('germline: ').replace('|', '/')} |")
    return 1 if code else 0


if __name__ == "__main__":
    raise SystemExit(main())
