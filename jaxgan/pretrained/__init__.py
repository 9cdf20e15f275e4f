"""Published networks: what they are, where their weights lie, how these are read."""
