"""Models: how a pipeline names one (``spec``), the reference networks (``nets``), and the store that keeps checkpoints (``store``).

Importing this package does not load torch.
"""
