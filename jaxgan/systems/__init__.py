"""One file a GAN: its paper, networks, losses and players."""
