"""The version of Modyn."""

__version__ = "0.1.0"
