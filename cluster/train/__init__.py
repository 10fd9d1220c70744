"""Training on Ray Train: launch, workers, checkpoints, placement, preemption."""
