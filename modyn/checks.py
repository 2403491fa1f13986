"""Everything that can be known of a pipeline before it runs: ``modyn check``."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from modyn.errors import ConfigError, EvaluationError, counted, did_you_mean
from modyn.policy import name_of
from modyn.selectors import Selector, holdout, worth
from modyn.types import Reader, Samples, Window
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
    from modyn.selecting import check_selector
    from modyn.streaming import streamed
    from modyn.training.trainer import Trainer

    dataset = Dataset.open(workspace, pipeline.dataset)
    samples = streamed(dataset, pipeline)
    span = Window(int(samples.timestamps.min()), int(samples.timestamps.max()) + 1, by="time")
    yield f"dataset {pipeline.dataset}: {counted(len(samples), 'sample')} over {span}"
    if samples.labels is None:
        raise ConfigError(f"dataset '{pipeline.dataset}' has no labels; add it again with a label to train on it")
    known = samples.with_known_labels()
    if not len(known):
        raise ConfigError(f"dataset '{pipeline.dataset}': no label is known yet; deliver some with: modyn data label")
    if len(known) < len(samples):
        yield f"labels of {counted(len(samples) - len(known), 'sample')} are not known yet: these are not trained on"
    samples = known
    _check_names(pipeline, workspace, dataset.column_types)
    trainer = Trainer(
        pipeline.training,
        model=pipeline.model.build,
        parser=pipeline.parser.build(),
        reader=dataset.reader(),
        seed=pipeline.seed,
        log=None,
    )
    yield f"one batch fits: {trainer.check(samples.keys[: pipeline.training.batch_size])}"
    _check_trigger(pipeline, trainer, dataset.reader(), samples)
    yield f"trigger {name_of(type(pipeline.trigger))}, selector {name_of(type(pipeline.selector))}"
    for selector in pipeline.selector.deciding:
        check_selector(selector, trainer, trainer.labelled(samples)[:256])
        yield from _costs(pipeline, selector, len(samples))
    if pipeline.evaluation is not None:
        yield from _check_evaluation(
            Evaluator(pipeline.evaluation, trainer.labelled(samples)), pipeline, trainer, samples
        )


def _check_trigger(pipeline: "Pipeline", trainer: "Trainer", reader: Reader, samples: Samples) -> None:
    """Raise ModynError if what the trigger looks at in the data is not there."""
    from modyn.training.deployed import Deployed
    from modyn.triggers.features import check_features

    features = Deployed(trainer, reader, deleted=lambda keys: np.zeros(len(keys), np.bool_))
    check_features(pipeline.trigger, features, samples.keys[:8])


def _costs(pipeline: "Pipeline", selector: Selector, num_candidates: int) -> Iterator[str]:
    epochs, size = pipeline.training.epochs_of(1), pipeline.training.batch_size
    for told in (
        worth.warning(selector, epochs=epochs, num_candidates=num_candidates),
        holdout.warning(selector.irreducible, num_candidates=num_candidates, batch_size=size),
    ):
        if told is not None:
            yield f"warning: {told}"
    if (note := worth.uncounted(selector)) is not None:
        yield note


def _check_evaluation(
    evaluator: "Evaluator", pipeline: "Pipeline", trainer: "Trainer", samples: Samples
) -> Iterator[str]:
    if not evaluator.windows:
        raise ConfigError("evaluation.windows: they lay out no window over this dataset")
    keys, model = samples.keys[:256], pipeline.model.build()
    if hasattr(model, "state_dict"):  # an estimator predicts only once it is fitted
        try:
            evaluator.check(keys, trainer.predict(model.state_dict(), keys))
        except EvaluationError as error:
            raise ConfigError(f"evaluation: {error}") from error
    filled = sum(window["num_samples"] > 0 for window in evaluator.describe())
    yield f"evaluation: {counted(len(evaluator.windows), 'window')}, {filled} with samples; {', '.join(evaluator.metrics)}"


def _check_names(pipeline: "Pipeline", workspace: Workspace, columns: Collection[str]) -> None:
    """Raise ModynError if the pipeline names a column or a checkpoint that does not exist."""
    from modyn.models.store import ModelStore

    for name in pipeline.selector.columns:
        if name not in columns:
            raise ConfigError(f"selector: the dataset has no column '{name}'. {did_you_mean(name, columns)}")
    kind, _, checkpoint = pipeline.training.start.partition(":")
    if kind == "checkpoint":
        ModelStore(workspace).get(checkpoint)
    for selector in pipeline.selector.deciding:
        proxy = getattr(selector, "proxy", None)
        if proxy is not None:
            ModelStore(workspace).get(proxy)
