"""Accuracy and loss against known numbers."""

import math

import pytest
import torch
from torch import nn

from germline.data import Images
from germline.errors import DataError
from germline.training import score_model

IMAGES = Images(torch.zeros(300, 1, 2, 2, dtype=torch.uint8), torch.arange(300) % 3, tuple("abc"))


def test_evaluate_constant_logits():
    model = nn.Linear(1, 1).train()
    modes = []

    def logits(pixels):
        modes.append(model.training)
        return torch.tensor([[math.log(2.0), 0.0, 0.0]]).expand(len(pixels), 3)

    score = score_model(model, logits, IMAGES)
    assert score.accuracy == pytest.approx(1 / 3)
    assert score.loss == pytest.approx((math.log(2) + 2 * math.log(4)) / 3, abs=1e-6)
    assert modes == [False, False]
    assert model.training


def test_evaluate_refuses_no_images_and_no_labels():
    for images in (Images(IMAGES.images, None, ()), IMAGES.subset(torch.tensor([], dtype=torch.int64))):
        with pytest.raises(DataError, match="Nothing to evaluate on"):
            score_model(nn.Linear(1, 1), lambda pixels: pixels, images)
