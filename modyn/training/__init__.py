"""HOW a model is trained: the options of a pipeline's ``training`` section, the loader and the trainer.

Importing this package does not load torch; ``modyn.training.trainer`` does.
"""
