"""What a simulation of a pipeline refuses, before it looks at any data."""

import math
from pathlib import Path
from typing import Any

import pytest

from modyn.errors import ConfigError
from modyn.simulation import simulate_pipeline
from modyn.workspace import Workspace


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checkpoint": "a-1/0", "run": "b-1"}, "one checkpoint or those of a run, not both; got a-1/0 and run b-1"),
        ({"training_seconds": -1.0}, "a training costs 0 seconds or more, not -1"),
        ({"training_seconds": math.nan}, "not nan"),
        ({"training_seconds": math.inf}, "not inf"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    pipeline: Any = None  # it is not looked at
    with pytest.raises(ConfigError, match=message):
        simulate_pipeline(pipeline, Workspace(tmp_path), **arguments)
