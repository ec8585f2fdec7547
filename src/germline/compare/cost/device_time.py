"""Expected time of a recipe on devices of a known rate."""

from __future__ import annotations

from collections.abc import Mapping

from germline.compare.cost.cost import Cost
from germline.errors import SettingError

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def describe_device_time(stages: Mapping[str, Cost], tflops: float, devices: int) -> str:
    """Describe how long stages take that follow each other.

    The parts of a stage run on all devices at once, and count as equal. So a stage takes at least as long as one part.

    Args:
        stages: Cost of each stage, by name, in order.
        tflops: Measured rate of one device in TFLOP/s. A multiply-add counts as two operations.
        devices: Number of devices.

    Raises:
        SettingError: The rate or the number of devices is not positive.
    """
    if not tflops > 0 or devices < 1:
        raise SettingError(
            f"tflops={tflops:g} on {devices} devices", "Both numbers are above 0", "Pass for example --tflops 100"
        )
    seconds = {
        name: cost.flops / 1e12 / tflops / min(devices, cost.count) for name, cost in stages.items() if cost.count
    }
    listed = ", ".join(f"{name} {_format_time(part)}" for name, part in seconds.items())
    many = f"{devices} devices" if devices > 1 else "one device"
    return f"expected time on {many} of {tflops:g} TFLOP/s: {_format_time(sum(seconds.values()))} ({listed})"


def _format_time(seconds: float) -> str:
    """Format a duration in the largest fitting unit."""
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.1f} seconds"
