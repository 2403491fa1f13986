"""Everything that can be known of a pipeline before it runs: ``modyn check``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from modyn.errors import ConfigError, EvaluationError
from modyn.evaluation.metrics import Undefined
from modyn.policy import name_of
from modyn.types import Samples, Window
from modyn.workspace import Workspace

if TYPE_CHECKING:
    from modyn.evaluation.evaluator import Evaluator
    from modyn.pipeline import Pipeline
    from modyn.training.trainer import Trainer


def check(pipeline: "Pipeline", workspace: Workspace) -> Iterator[str]:
    """Try a pipeline on one real batch; yields a line for each thing that was found to fit.

    Raises ModynError at the first that does not: the dataset, the parser, the model, the loss or the evaluation.
    """
    from modyn.datasets import Dataset
    from modyn.evaluation.evaluator import Evaluator
    from modyn.stations import streamed
    from modyn.training.trainer import Trainer

    dataset = Dataset.open(workspace, pipeline.dataset)
    samples = streamed(dataset, pipeline)
    span = Window(int(samples.timestamps.min()), int(samples.timestamps.max()) + 1, by="time")
    yield f"dataset {pipeline.dataset}: {len(samples):,} samples over {span}"
    if samples.labels is None:
        raise ConfigError(f"dataset '{pipeline.dataset}' has no labels; add it again with a label to train on it")
    trainer = Trainer(
        pipeline.training,
        model=pipeline.model.build,
        parser=pipeline.parser.build(),
        reader=dataset.reader(),
        seed=pipeline.seed,
        log=None,
    )
    yield f"one batch fits: {trainer.check(samples.keys[: pipeline.training.batch_size])}"
    yield f"trigger {name_of(type(pipeline.trigger))}, selector {name_of(type(pipeline.selector))}"
    if pipeline.evaluation is not None:
        yield from _check_evaluation(Evaluator(pipeline.evaluation, samples), pipeline, trainer, samples)


def _check_evaluation(
    evaluator: "Evaluator", pipeline: "Pipeline", trainer: "Trainer", samples: Samples
) -> Iterator[str]:
    if not evaluator.windows:
        raise ConfigError("evaluation.windows: they lay out no window over this dataset")
    keys = samples.keys[:256]
    outputs = trainer.predict(pipeline.model.build().state_dict(), keys)
    labels = samples.labels[:256] if samples.labels is not None else np.zeros(0)
    for name, metric in evaluator.metrics.items():
        try:
            metric.score(labels, outputs)
        except EvaluationError as error:
            raise ConfigError(f"evaluation.metrics: {name}: {error}") from error
        except Undefined:
            pass
    filled = sum(window["num_samples"] > 0 for window in evaluator.describe())
    yield f"evaluation: {len(evaluator.windows)} windows, {filled} with samples; {', '.join(evaluator.metrics)}"
