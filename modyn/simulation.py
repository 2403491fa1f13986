"""When would a pipeline's trigger fire? Its dataset replayed through it without training: ``modyn simulate``."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from modyn.errors import ConfigError
from modyn.triggers.simulate import Simulation, simulate
from modyn.types import Round, Samples
from modyn.workspace import Workspace

if TYPE_CHECKING:
    from modyn.pipeline import Pipeline


def simulate_pipeline(
    pipeline: "Pipeline",
    workspace: Workspace,
    *,
    checkpoint: str | None = None,
    run: str | None = None,
    training_seconds: float = 0.0,
) -> Simulation:
    """Replay a pipeline's dataset through its trigger, training nothing.

    A trigger that looks at the deployed model is shown ``checkpoint`` all along, or the checkpoints of the finished ``run``: from its
    first firing on, the newest whose data ends at or before the firing. While there is none, Modyn's triggers that need a model fire at each
    look, as they do in a run. ``training_seconds`` is what each round is said to cost, for triggers that weigh costs. Raises NotFound if there
    is no such dataset, run or checkpoint, ConfigError if the run has no checkpoints or the arguments make no sense, TrainingError if a trigger of the user's own asks for the
    model's outputs while there is no model.
    """
    from modyn.datasets import Dataset
    from modyn.models.store import ModelStore
    from modyn.stations import STREAM_BATCH
    from modyn.streaming import streamed
    from modyn.training.deployed import Deployed
    from modyn.training.trainer import Trainer

    if checkpoint is not None and run is not None:
        raise ConfigError(
            f"the trigger is shown one checkpoint or those of a run, not both; got {checkpoint} and run {run}"
        )
    if not 0 <= training_seconds < math.inf:
        raise ConfigError(f"a training costs 0 seconds or more, not {training_seconds:g}")
    dataset = Dataset.open(workspace, pipeline.dataset)
    samples = streamed(dataset, pipeline)
    reader = dataset.at(dataset.version).reader()
    trainer = Trainer(
        pipeline.training,
        model=pipeline.model.build,
        parser=pipeline.parser.build(),
        reader=reader,
        seed=pipeline.seed,
        log=None,
    )
    features = Deployed(trainer, reader, deleted=lambda keys: np.zeros(len(keys), dtype=bool))
    models = ModelStore(workspace)
    kept = list(models.checkpoints(run)) if run is not None else []
    if run is not None and not kept:
        raise ConfigError(f"run '{run}' has no checkpoints")
    if checkpoint is not None:
        features.deploy(checkpoint, models.weights(checkpoint))

    def deploy(done: Round) -> None:
        served = [known for known in kept if known.data_until <= done.time_window.end]
        if served and served[-1].id != features.checkpoint:
            features.deploy(served[-1].id, models.weights(served[-1].id))

    def batches() -> Iterator[Samples]:
        for start in range(0, len(samples), STREAM_BATCH):
            yield samples[start : start + STREAM_BATCH]

    return simulate(
        pipeline.trigger,
        batches(),
        features=features,
        training_seconds=lambda _: training_seconds,
        deploy=deploy if kept else None,
    )
