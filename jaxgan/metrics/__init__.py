"""Feature extractors and the scores of generated images."""
