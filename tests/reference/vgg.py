"""VGG16 and AlexNet with torchvision's names, and LPIPS as its paper's equation 1 says."""

import torch
from torch import Tensor, nn


class VGG16(nn.Module):
    """Simonyan & Zisserman's configuration D."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for channels in (64, 64, 0, 128, 128, 0, *[256] * 3, 0, *[512] * 3, 0, *[512] * 3, 0):
            if channels:
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.classifier[:5](self.features(x).flatten(1))
        return x, self.classifier[5:](x)


def alexnet_features() -> nn.Sequential:
    """Krizhevsky's network of 2014, up to the last convolution's ReLU."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


@torch.no_grad()
def lpips(
    features: nn.Sequential, ends: list[int], weights: list[Tensor], a: Tensor, b: Tensor
) -> Tensor:
    """Distances [b] of images [b, 3, h, w] in [-1, 1]; a weight [c] per channel of five maps."""
    # The constants of the published code: ImageNet's, rounded, for [-1, 1].
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    a, b = (a - shift) / scale, (b - shift) / scale
    total, start = torch.zeros(len(a)), 0
    for end, weight in zip(ends, weights, strict=True):
        a, b = features[start:end](a), features[start:end](b)
        start = end
        unit_a = a / (a.square().sum(1, keepdim=True).sqrt() + 1e-10)
        unit_b = b / (b.square().sum(1, keepdim=True).sqrt() + 1e-10)
        difference = (unit_a - unit_b).square() * weight[:, None, None]
        total += difference.sum(1).mean((1, 2))
    return total
