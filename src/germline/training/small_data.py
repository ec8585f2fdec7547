"""The warning about a batch that is larger than the training set."""

from __future__ import annotations

from germline.data.pixels import warn_once
from germline.training.settings import TrainSettings


def warn_of_repeated_images(settings: TrainSettings, images: int, prefix: str = "") -> None:
    """Warn once if every batch repeats images, which users of a plain DataLoader do not expect.

    Args:
        settings: Settings of the training.
        images: Number of training images.
        prefix: Start of the settings' names in the message, such as `life.`.
    """
    most = images * settings.repeats
    if settings.batch_size <= most or settings.total_steps(images) == 0:
        return
    copies = f" with repeats={settings.repeats}" if settings.repeats > 1 else ""
    plural = "s" if images > 1 else ""
    short = ""
    if settings.steps is None:
        steps = settings.total_steps(images)
        short = f", and epochs={settings.epochs:g} is {steps} step{'s' if steps > 1 else ''}"
    warn_once(
        f"{prefix}batch_size={settings.batch_size} is more than the {images} training image{plural}{copies}. Each step "
        f"then repeats images, where PyTorch's DataLoader would give a smaller batch{short}. "
        f"Use {prefix}batch_size={most} or less."
    )
