"""What the theory of GANs says of Gaussians on a line, where every truth can be computed."""
