"""The log of readings of data for headline numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from germline.files import append_json


def log_final_reading(log: Path, why: str) -> None:
    """Log a reading of data that nothing is tuned on, before they are read.

    Args:
        log: Log file of all readings, one line of JSON each.
        why: Reason for the reading.
    """
    append_json(log, {"time": datetime.now(UTC).isoformat(timespec="seconds"), "why": why})
