"""HOW WELL a model holds: scores of checkpoints on windows, over time."""
