"""Descendants that are assembled from tensors: heads and image sizes."""

import pytest
import torch

from germline.architectures import VGG, Preprocess, VggSpec
from germline.baselines.finetune import Finetune
from germline.errors import SettingError
from germline.network import Network
from germline.training import Run


def test_head_of_flattened_maps_keeps_its_image_size(pico):
    spec = VggSpec(image_size=16, channels=1, classes=2, widths=((4,), (6,)), hidden=(5,))
    preprocess = Preprocess(channels=1, image_size=16, mean=(0.5,), std=(0.5,))
    network = Network(VGG.build(spec).eval(), preprocess, ("a", "b"), spec=spec)
    gene = Finetune().condense(network, pico, Run(device="cpu", quiet=True))
    with pytest.raises(SettingError, match=r"image_size=32 with its own classes.*Use image_size=16") as caught:
        gene.inherit(image_size=32)
    assert "'head.dense.0.weight' of its head" in str(caught.value)
    assert torch.equal(gene.inherit().model.head.fc.weight, network.model.head.fc.weight)
    # A fresh head reads the maps of its own images.
    assert gene.inherit(image_size=32, classes=("a", "c")).model.head.dense[0].in_features == 6 * 8 * 8
