"""A small network with what makes replaying hard."""

from torch import nn


class BranchingNet(nn.Module):
    """A stem, two branches (one in place), a shared head on two levels, a gate that saturates."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.left = nn.Conv2d(8, 8, 1)
        self.right = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.MaxPool2d(2)
        self.head = nn.Conv2d(8, 4, 1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.ran = []

    def forward(self, x):
        x = self.stem(x)
        y = self.right(x)
        y += self.left(x)
        y = self.relu(y)
        y = y * self.gate(x.mean((2, 3), keepdim=True)).clamp(0, 1)
        return [self.head(y), self.head(self.down(x))]
