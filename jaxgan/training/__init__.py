"""Training: the step, the loop around it, checkpoints, reports and samples."""
