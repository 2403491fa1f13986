"""Modyn trains machine-learning models on dynamic datasets: when to retrain, on what, and how well it holds.

The public names are imported on first use, so that ``import modyn`` loads neither torch nor pandas.

>>> import modyn
>>> modyn.Window(0, 10)
Window(start=0, end=10, by='key')
"""

import importlib
from typing import TYPE_CHECKING, Any

from modyn.version import __version__

if TYPE_CHECKING:
    from modyn.datasets import Dataset
    from modyn.errors import ModynError
    from modyn.pipeline import Pipeline
    from modyn.reports.compare import compare
    from modyn.run import Run
    from modyn.selectors import Selector
    from modyn.triggers import Trigger
    from modyn.types import Candidates, Checkpoint, Round, Samples, Selection, Window
    from modyn.workspace import Workspace

_HOMES = {
    "Candidates": "types",
    "Checkpoint": "types",
    "Dataset": "datasets",
    "ModynError": "errors",
    "Pipeline": "pipeline",
    "Round": "types",
    "Run": "run",
    "Samples": "types",
    "Selection": "types",
    "Selector": "selectors",
    "Trigger": "triggers",
    "Window": "types",
    "Workspace": "workspace",
    "compare": "reports.compare",
}

__all__ = [
    "Candidates",
    "Checkpoint",
    "Dataset",
    "ModynError",
    "Pipeline",
    "Round",
    "Run",
    "Samples",
    "Selection",
    "Selector",
    "Trigger",
    "Window",
    "Workspace",
    "__version__",
    "compare",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"modyn.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'modyn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
