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


@pytest.mark.parametrize("classes", [("c", "b", "a"), ("c", "a")], ids=["another order", "fewer"])
def test_known_classes_keep_their_outputs(pico, make_network, classes):
    network = make_network(classes=("a", "b", "c"))
    gene = Finetune().condense(network, pico, Run(device="cpu", quiet=True))
    child = gene.inherit(classes=classes)
    pixels = torch.rand(2, 1, 16, 16)
    places = [network.classes.index(name) for name in classes]
    assert child.network.classes == classes
    torch.testing.assert_close(child.network.logits(pixels), network.logits(pixels)[:, places])
    assert child.ledger.entries["head.weight"] == {"copied": child.model.head.weight.numel()}


def test_a_class_that_the_gene_lacks_gives_a_fresh_head(pico, make_network):
    gene = Finetune().condense(make_network(classes=("a", "b")), pico, Run(device="cpu", quiet=True))
    child = gene.inherit(classes=("b", "a", "c"))
    assert child.ledger.entries["head.weight"] == {"fresh": child.model.head.weight.numel()}


def test_hidden_layers_of_a_head_keep_all_rows(pico):
    spec = VggSpec(image_size=16, channels=1, classes=2, widths=((4,), (6,)), hidden=(2,))
    preprocess = Preprocess(channels=1, image_size=16, mean=(0.5,), std=(0.5,))
    network = Network(VGG.build(spec).eval(), preprocess, ("a", "b"), spec=spec)
    head = Finetune().condense(network, pico, Run(device="cpu", quiet=True)).inherit(classes=("b", "a")).model.head
    assert torch.equal(head.dense[0].weight, network.model.head.dense[0].weight)
    assert torch.equal(head.fc.bias, network.model.head.fc.bias.flip(0))
