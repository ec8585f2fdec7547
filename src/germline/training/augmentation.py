"""Augmentation of one training, from its settings, its data and its network."""

from __future__ import annotations

from collections.abc import Sequence

from germline.architectures import Preprocess
from germline.data import AnyImages, Augment, Augmentation, Policy
from germline.errors import SettingError
from germline.training.settings import TrainSettings


def check_augmentation(settings: TrainSettings, augmentation: Sequence[Augmentation]) -> None:
    """Refuse random changes of images whose data set allows none.

    Raises:
        SettingError: Such a change is set.
    """
    if (names := settings.random_changes()) and not augmentation:
        raise SettingError(
            f"{names[0]}={getattr(settings, names[0])} on images that allow no augmentation",
            "No change is known to keep their label",
            f"Remove {names[0]}, or pass augmentation=('shift',) to load_data if images keep their label",
        )


def make_augment(
    settings: TrainSettings, augmentation: Sequence[Augmentation], images: AnyImages, preprocess: Preprocess
) -> Augment | None:
    """Make the augmentation of a training; None for unchanged images.

    Args:
        settings: Training settings.
        augmentation: Augmentation that the data allow.
        images: Training images.
        preprocess: Preprocessing of the network, whose statistics fill empty corners and erased rectangles.

    Raises:
        SettingError: Random changes are set, and the data allow no augmentation.
    """
    check_augmentation(settings, augmentation)
    if not settings.augment or not augmentation:
        return None
    if set(settings.random_changes()) <= {"repeats"}:
        return Augment(tuple(augmentation))
    adapted = preprocess.adapt(images.channels, images.side)
    policy = Policy(
        images.side, adapted.mean, adapted.std, settings.randaugment, settings.color_jitter, settings.erasing
    )
    return Augment(tuple(augmentation), policy)
