"""The DCGAN of PyTorch's examples, from its layer table, with that code's names; of any size."""

from torch import nn


class Generator(nn.Module):
    def __init__(self, latent=10, width=4, colours=3, layers=3):
        super().__init__()
        self.main, before = nn.Sequential(), latent
        for index in range(layers):
            after, geometry = width << (layers - 1 - index), (2, 1) if index else (1, 0)
            self.main.append(nn.ConvTranspose2d(before, after, 4, *geometry, bias=False))
            self.main.append(nn.BatchNorm2d(after)).append(nn.ReLU(True))
            before = after
        self.main.append(nn.ConvTranspose2d(before, colours, 4, 2, 1, bias=False))
        self.main.append(nn.Tanh())

    def forward(self, z):
        return self.main(z[:, :, None, None])


class Discriminator(nn.Module):
    """Logits, before the example's sigmoid."""

    def __init__(self, width=4, colours=3, layers=3):
        super().__init__()
        self.main, before = nn.Sequential(), colours
        for index in range(layers):
            self.main.append(nn.Conv2d(before, width << index, 4, 2, 1, bias=False))
            if index:
                self.main.append(nn.BatchNorm2d(width << index))
            self.main.append(nn.LeakyReLU(0.2, inplace=True))
            before = width << index
        self.main.append(nn.Conv2d(before, 1, 4, bias=False))

    def forward(self, x):
        return self.main(x).flatten()
