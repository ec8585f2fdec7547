"""Checks of the arguments of a training, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from germline.arguments import check_type
from germline.data import AnyImages, Augmentation, ImageFiles, Images
from germline.network import Network
from germline.training.augmentation import check_augmentation
from germline.training.batch_limit import check_batch_memory
from germline.training.network_options import check_drop_path, check_grad_checkpointing, check_weight_types
from germline.training.objectives import Objective
from germline.training.settings import TrainSettings, check_settings_type


def check_fit(
    network: Network,
    objective: Objective,
    images: AnyImages,
    settings: TrainSettings,
    augmentation: Sequence[Augmentation],
    precision: str,
) -> None:
    """Refuse a training that cannot run.

    Args:
        network: Network to train.
        objective: Loss to minimise.
        images: Training images.
        settings: Training settings.
        augmentation: Augmentation that the data allow.
        precision: Precision of the run.

    Raises:
        SettingError: An argument has another type, or the settings fit neither images, network nor memory. Or a
            network's weights are not float32.
    """
    fix = "Use a germline.Network, such as the network of a descendant"
    check_type("network", network, Network, "It is a network with class names and preprocessing", fix)
    check_type("objective", objective, Objective, "It is a loss of germline", "Use for example gl.CrossEntropy()")
    check_type("images", images, (Images, ImageFiles), "They are one split of a data set", "Use data.train")
    check_settings_type(settings)
    check_augmentation(settings, augmentation)
    check_batch_memory(settings, images)
    check_drop_path(network, settings)
    check_grad_checkpointing(network.model, objective, settings)
    check_weight_types((network, *objective.teachers()), precision)
