"""A ResNet of basic blocks in plain PyTorch with torchvision's names, as in scripts for small images."""

from torch import nn


class PlainBlock(nn.Module):
    """Two convolutions and a shortcut, which is called `downsample` or `shortcut`."""

    def __init__(self, inputs, width, stride, shortcut="downsample"):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.side = shortcut
        if stride != 1 or inputs != width:
            part = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            setattr(self, shortcut, part)

    def forward(self, x):
        added = getattr(self, self.side)(x) if hasattr(self, self.side) else x
        x = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(x)) + added).relu()


class PlainResNet(nn.Module):
    """Four stages behind a stem of 3x3 pixels, or of 7x7 pixels and a pool."""

    def __init__(self, classes, depths=(2, 2, 2, 2), width=8, stem=3, channels=3, shortcut="downsample", head="fc"):
        super().__init__()
        first = width if stem == 3 else 64
        self.conv1 = nn.Conv2d(channels, first, stem, 1 if stem == 3 else 2, stem // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.pool = nn.Identity() if stem == 3 else nn.MaxPool2d(3, 2, 1)
        for stage, depth in enumerate(depths):
            reads, writes = first if stage == 0 else width * 2 ** (stage - 1), width * 2**stage
            blocks = [PlainBlock(reads, writes, 1 if stage == 0 else 2, shortcut)]
            blocks += [PlainBlock(writes, writes, 1, shortcut) for _ in range(depth - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.head_name = head
        setattr(self, head, nn.Linear(width * 8, classes))

    def forward(self, x):
        x = self.pool(self.bn1(self.conv1(x)).relu())
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return getattr(self, self.head_name)(x.mean((2, 3)))
