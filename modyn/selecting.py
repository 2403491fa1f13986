"""A run's selecting: scores the candidates, asks the selector, and goes on choosing while the round trains.

What a selector needs is gathered here: signals by a pass with the latest weights or those of a proxy, histories that training noted, and
irreducible losses by models trained on a holdout. Selectors know arrays only, and the trainer knows no selectors.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modyn.errors import NotFound, TrainingError
from modyn.models.spec import ModelSpec
from modyn.models.store import ModelStore
from modyn.policy import Importable, name_of
from modyn.runlog import RunLog
from modyn.selectors import Selector, stored
from modyn.selectors.holdout import irreducible_losses
from modyn.selectors.metadata import Metadata
from modyn.selectors.scored import scalar_score
from modyn.selectors.signals import needs_pass
from modyn.training.choice import Choice, Given, Known, Score
from modyn.training.options import EarlyStopping
from modyn.training.order import derived_seed
from modyn.training.parsing import ParserSpec
from modyn.training.trainer import Fitted, Trainer
from modyn.types import Array, Candidates, Float32s, Int64s, Samples, Selection, Signal, Signals
from modyn.workspace import Workspace

MOST_HOLDOUT_EPOCHS = 30
"""Of a model of the irreducible loss that is trained until its loss no longer falls."""
NOTED = frozenset({"loss-history", "forgetting"})
"""Signals that training notes, epoch by epoch."""
Weights = Mapping[str, Any]
Keep = Callable[[Fitted, str, Int64s], None]
"""Stores a holdout model: what was fitted, its name (``holdout-0``), and the keys it was trained on."""


class Selecting:
    """Selects for one run. ``folder`` is the run's, ``seed`` the pipeline's. Raises TrainingError if selector and training do not go together."""

    def __init__(
        self,
        selector: Selector,
        trainer: Trainer,
        *,
        folder: Path,
        seed: int,
        workspace: Workspace | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.selector, self.trainer, self.folder, self.seed = selector, trainer, folder, seed
        self.workspace, self.keep = workspace, keep
        self.metadata = Metadata(folder)
        self._proxies: dict[str, tuple[Trainer, Weights]] = {}
        for one in selector.deciding:
            _check_training(one, trainer)

    def select(self, candidates: Candidates, weights: Weights | None) -> tuple[Selection, Choice | None]:
        """A round's selection, and what is chosen and noted while it trains (None = nothing).

        ``weights`` are the latest checkpoint's, None before there is one: then a selector that needs a model's signals chooses at random.
        """
        selector = self.selector.for_round(candidates.round)
        record = self._record(candidates.round) if self.selector.uses_history else None
        if candidates.round < selector.warmup_rounds:
            everything = selector.choose(candidates, None, seed=self.seed)
            return everything, None if record is None else Choice(record=record)
        signals = self._window_signals(selector, candidates, weights)
        selection = selector.choose(candidates, signals, seed=self.seed)
        self._keep_scores(selector, candidates, selection, signals)
        return selection, self._choice(selector, candidates, record)

    def _window_signals(self, selector: Selector, candidates: Candidates, weights: Weights | None) -> Signals | None:
        """The signals of the candidates; None if they cannot be had yet, or are computed within batches."""
        if selector.in_batch is not None:
            return None
        proxy = getattr(selector, "proxy", None)
        if proxy is not None:
            trainer, given = self._proxy(proxy)
            return self._signals(selector, candidates, _scoring(trainer, given, selector))
        if weights is None:
            with_pass = [name for name in selector.needs if needs_pass(name)]
            return None if with_pass else self._signals(selector, candidates, None)
        return self._signals(selector, candidates, _scoring(self.trainer, weights, selector))

    def _signals(self, selector: Selector, candidates: Candidates, score: Score | None) -> Signals:
        found: dict[str, Signal] = {}
        with_pass = [name for name in selector.needs if needs_pass(name)]
        if with_pass:
            assert score is not None
            found.update(score(with_pass, candidates.keys))
        for name in selector.needs:
            if not needs_pass(name):
                found[str(name)] = self._without_pass(name, selector, candidates)
        return found

    def _without_pass(self, name: Importable | str, selector: Selector, candidates: Candidates) -> Array:
        before = (candidates.round, candidates.epoch)
        if name == "loss-history":
            return self.metadata.losses(candidates.keys, before=before)
        if name == "forgetting":
            return self.metadata.forgetting(candidates.keys, before=before)
        return self._irreducible(selector, candidates)

    def _choice(self, selector: Selector, candidates: Candidates, record: Any) -> Choice | None:
        rule, every = selector.in_batch, selector.every_epochs
        if rule is None and not every and record is None:
            return None
        given: dict[str, Given] = {}
        for name in () if rule is None else rule.scores:
            if str(name) in NOTED:
                given[str(name)] = self._noted(name, selector, candidates)
            elif not needs_pass(name):
                given[str(name)] = Known(candidates.keys, self._without_pass(name, selector, candidates))
        return Choice(
            in_batch=rule,
            given=given,
            every_epochs=every,
            anew=self._anew(selector, candidates) if every else None,
            precision=getattr(selector, "precision", None),
            record=record,
            drawn=None if rule is None else self._drawn(candidates.round),
        )

    def _noted(self, name: str, selector: Selector, candidates: Candidates) -> Callable[[int], Known]:
        """What tells, for each epoch, what the epochs before have noted."""

        def known(epoch: int) -> Known:
            now = replace(candidates, epoch=epoch)
            return Known(now.keys, self._without_pass(name, selector, now))

        return known

    def trained_on(self, number: int, selection: Selection) -> Selection:
        """All that a round trained on, once it has trained: its selection and those made anew, or what was drawn out of its batches.

        A key that was in several has the weight of the last.
        """
        later = stored.made_while_training(self.folder, number)
        parts = [*([] if 0 in later else [selection]), *later.values()]
        if not later:
            return selection
        weighted = [(p.keys, np.ones(len(p), np.float32) if p.weights is None else p.weights) for p in parts]
        keys, weights = stored.latest(weighted)
        return Selection(keys, None if all(p.weights is None for p in parts) else weights)

    def _anew(self, selector: Selector, candidates: Candidates) -> Callable[[int, Score], Selection]:
        proxy = getattr(selector, "proxy", None)

        def choose(epoch: int, score: Score) -> Selection:
            if proxy is not None:
                score = _scoring(*self._proxy(proxy), selector)
            now = replace(candidates, epoch=epoch)
            signals = self._signals(selector, now, score)
            selection = selector.choose(now, signals, seed=self.seed)
            self._keep_scores(selector, now, selection, signals)
            stored.keep_made_while_training(self.folder, now.round, epoch, selection)
            return selection

        return choose

    def _drawn(self, number: int) -> Callable[[int, Selection, Float32s | None], None]:
        def keep(epoch: int, chosen: Selection, scores: Float32s | None) -> None:
            stored.keep_made_while_training(self.folder, number, epoch, chosen)
            if scores is not None:
                stored.keep_scores(self.folder, number, epoch, keys=chosen.keys, scores=scores)

        return keep

    def _record(self, number: int) -> Callable[[int, Int64s, Array, Array | None], None]:
        def record(epoch: int, keys: Int64s, losses: Array, right: Array | None) -> None:
            self.metadata.append(number, epoch, keys=keys, losses=losses, right=right)

        return record

    # Models besides the run's own ------------------------------------------------------------------------------------

    def _irreducible(self, selector: Selector, candidates: Candidates) -> Float32s:
        """Irreducible losses of the candidates, kept in ``irreducible/ROUND.arrow``; NaN for those held out."""
        path = self.folder / "irreducible" / f"{candidates.round}.arrow"
        if path.exists():
            table = stored.read_columns(path)
            if np.array_equal(table["key"].to_numpy(), candidates.keys):
                return np.asarray(table["loss"].to_numpy(), dtype=np.float32)
        holdout = selector.irreducible
        assert holdout is not None
        stopping = EarlyStopping() if holdout.epochs is None else None
        epochs = holdout.epochs or MOST_HOLDOUT_EPOCHS
        options = {"epochs": epochs, "samples": None, "checkpoint": None, "early_stopping": stopping}

        def fit(keys: Int64s, number: int) -> tuple[Trainer, Weights]:
            trainer = self._like(self.trainer, options, seed=derived_seed(self.seed, number + 1))
            fitted = trainer.fit(Selection(keys), round=candidates.round)
            if self.keep is not None:
                self.keep(fitted, f"holdout-{number}", keys)
            return trainer, fitted.weights

        def losses(model: tuple[Trainer, Weights], keys: Int64s) -> Float32s:
            trainer, weights = model
            return np.asarray(trainer.compute_signals(["loss"], keys, weights)["loss"])

        found, _ = irreducible_losses(candidates.keys, holdout, seed=self.seed, fit=fit, losses=losses)
        stored.write_columns(path, {"key": candidates.keys, "loss": found})
        return found

    def _like(self, trainer: Trainer, options: Mapping[str, Any], *, seed: int) -> Trainer:
        known = {name: value for name, value in options.items() if name in type(trainer.options).model_fields}
        return Trainer(
            trainer.options.model_copy(update={**known, "seed": None}),
            model=trainer.model,
            parser=trainer.parser,
            reader=trainer.reader,
            seed=seed,
        )

    def _proxy(self, checkpoint: str) -> tuple[Trainer, Weights]:
        """The trainer and weights of another run's checkpoint, by the pipeline that the run kept."""
        if checkpoint not in self._proxies:
            if self.workspace is None:
                raise NotFound(f"selector.proxy: there is no workspace to find checkpoint {checkpoint} in")
            store = ModelStore(self.workspace)
            log = RunLog.find(self.workspace.runs, store.get(checkpoint).run)
            started = next(log.events("run-started"))
            document, base_dir = started["pipeline"], Path(started["base_dir"])
            trainer = Trainer(
                self.trainer.options.model_copy(update={"checkpoint": None}),
                model=ModelSpec.parse(document["model"], base_dir).build,
                parser=ParserSpec.model_validate(document["parser"], context={"base_dir": base_dir}).build(),
                reader=self.trainer.reader,
                seed=self.seed,
            )
            self._proxies[checkpoint] = trainer, store.weights(checkpoint)
        return self._proxies[checkpoint]

    # What was chosen, to look at later -------------------------------------------------------------------------------

    def _keep_scores(
        self, selector: Selector, candidates: Candidates, selection: Selection, signals: Signals | None
    ) -> None:
        """Keep the scores of the chosen, where a score is a number."""
        score = None if signals is None else scalar_score(selector, signals)
        if score is not None:
            rows = np.searchsorted(candidates.keys, selection.keys)
            epoch = candidates.epoch or None
            stored.keep_scores(self.folder, candidates.round, epoch, keys=selection.keys, scores=score[rows])


def check_selector(selector: Selector, trainer: Trainer, samples: Samples) -> None:
    """Let a selector choose of a few samples by an untrained model.

    Raises ModynError if it can never choose of such samples, or with such a model.
    """
    _check_training(selector, trainer)
    number = len(samples)
    unused = np.zeros(number, dtype=np.int64)
    columns = trainer.reader.read(samples.keys) if selector.columns else {}
    candidates = Candidates(samples, unused, unused, unused - 1, round=selector.warmup_rounds, columns=columns)
    model, names = trainer.model(), [name for name in selector.needs if needs_pass(name)]
    weights = model.state_dict() if hasattr(model, "state_dict") else {}
    signals: dict[str, Signal] = {str(name): np.zeros(number, dtype=np.float32) for name in selector.needs}
    if names:
        signals.update(trainer.compute_signals(names, samples.keys, weights))
    if selector.in_batch is None:
        selector.choose(candidates, signals, seed=0)
    else:
        size = max(1, round(selector.in_batch.share * number))
        selector.in_batch.pick(signals, size, np.random.default_rng(0), samples.labels)


def _check_training(selector: Selector, trainer: Trainer) -> None:
    """Raise TrainingError if what the selector asks of the training cannot be had from it, whatever the samples are."""
    if "forgetting" in selector.needs and trainer.task != "classification":
        raise TrainingError("forgetting counts right and wrong classes, and this loss is not one of classification")
    reasons = {
        "at: batch chooses within batches": selector.in_batch is not None,
        f"it selects anew every {selector.every_epochs} epochs": bool(selector.every_epochs),
        "it reads what training notes of each sample": selector.uses_history,
    }
    what = next((reason for reason, holds in reasons.items() if holds), None)
    if what is not None and (told := trainer.why_not_choose) is not None:
        raise TrainingError(
            f"selector {name_of(type(selector))}: {what.replace('every 1 epochs', 'every epoch')}, but {told}"
        )


def _scoring(trainer: Trainer, weights: Weights, selector: Selector) -> Score:
    precision = getattr(selector, "precision", None)
    return lambda names, keys: trainer.compute_signals(names, keys, weights, precision=precision)
