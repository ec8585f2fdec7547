"""Train a network in plain PyTorch, without germline, and save its weights as most scripts do.

    python train.py resnet images resnet.pth
    python train.py vit images vit.pth

It prints the accuracy on the validation images, and the mean and std of the training images.
"""

import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

STEPS = {"resnet": 60, "vit": 250}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Compute maps [B, outputs, h, w]."""
        inner = self.bn2(self.conv2(relu(self.bn1(self.conv1(maps)))))
        return relu(inner + (maps if self.downsample is None else self.downsample(maps)))


class ResNet18(nn.Module):
    """ResNet-18 for images of 32 pixels: a 3x3 stem without a pool, and four stages of two blocks."""

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage in range(4):
            outputs, stride = width * 2**stage, 1 if stage == 0 else 2
            blocks = nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))
            setattr(self, f"layer{stage + 1}", blocks)
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [B, classes]."""
        maps = relu(self.bn1(self.conv1(images)))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return self.fc(maps.mean(dim=(2, 3)))


def build_vit(classes: int) -> nn.Module:
    """Build a ViT that has no name in timm: 4 blocks of width 48 on patches of 8 pixels."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3}
    return timm.create_model("vit_tiny_patch16_224", num_classes=classes, **sizes)


def read_folder(folder: Path) -> tuple[Tensor, Tensor]:
    """Read images float32 [N, 3, 32, 32] in [0, 1] and labels int64 [N] from one folder per class."""
    images, labels = [], []
    for label, place in enumerate(sorted(folder.iterdir())):
        for path in sorted(place.iterdir()):
            images.append(np.asarray(Image.open(path).convert("RGB")))
            labels.append(label)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255, torch.tensor(labels)


def main(kind: str, folder: Path, out: Path) -> None:
    """Train, print the accuracy, and save the state dict under DistributedDataParallel's names."""
    torch.manual_seed(0)
    images, labels = read_folder(folder / "train")
    mean, std = images.mean(dim=(0, 2, 3)), images.std(dim=(0, 2, 3))
    images = (images - mean[:, None, None]) / std[:, None, None]
    classes = int(labels.max()) + 1
    model = ResNet18(classes) if kind == "resnet" else build_vit(classes)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(STEPS[kind]):
        batch = torch.randint(len(images), (32,))
        loss = cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    val_images, val_labels = read_folder(folder / "val")
    val_images = (val_images - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        accuracy = (model(val_images).argmax(dim=1) == val_labels).float().mean().item()
    weights = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": weights, "optimizer": optimizer.state_dict()}, out)
    mean_text, std_text = (",".join(f"{value:.4f}" for value in values) for values in (mean, std))
    print(f"accuracy {accuracy:.4f} --mean {mean_text} --std {std_text}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
