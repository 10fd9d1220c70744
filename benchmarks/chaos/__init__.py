"""`make chaos`: faults against a real cluster with real jobs; what was lost, what was doubled."""
