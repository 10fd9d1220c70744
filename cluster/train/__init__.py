"""Training on Ray Train: launch, workers, checkpoints, waiting for resources, preemption."""
