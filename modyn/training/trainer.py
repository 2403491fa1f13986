"""The trainer: fits a model to a selection, predicts with weights, and checks that parser, model and loss fit each other."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modyn.errors import ConfigError, ModynError, Problem, TrainingError, counted
from modyn.runlog import RunLog
from modyn.training import estimator as estimators
from modyn.training import ranks as devices
from modyn.training import state as states
from modyn.training import writers
from modyn.training.blocks import Batch, Plan
from modyn.training.cache import MemoryRows, ParsedCache, in_memory, on_disk
from modyn.training.choice import Choice
from modyn.training.clock import Clock
from modyn.training.device import find_device, shared_out, threads
from modyn.training.ema import unsettled
from modyn.training.failures import explain, memory_told
from modyn.training.fitted import Fitted
from modyn.training.held_out import Watch, hold_out
from modyn.training.hooks import Hooks
from modyn.training.loader import Loader
from modyn.training.losses import Criterion, Task
from modyn.training.optim import build_optimizers, build_schedules
from modyn.training.options import Training
from modyn.training.order import MODEL, TRAIN, derived_seed
from modyn.training.parsing import Parser
from modyn.training.randomness import seeded
from modyn.training.ranks import Ranks
from modyn.training.recipe import Recipe
from modyn.training.session import Saved, Session
from modyn.training.signals import OF_PREDICTION, Name, Scorer, to_arrays
from modyn.training.source import digest_of
from modyn.training.step import Step, autocast
from modyn.training.tensors import apply, layout
from modyn.training.weights import load_weights, read_pretrained
from modyn.types import Float32s, Int64s, Reader, Samples, Selection, Signals

FEW_ROWS, FEW_IN_BATCH = 1024, 256
PREDICT_ROWS = 4096
SLOW_HALF = "training.precision: fp16 on a CPU is computed in fp32 piece by piece, some nine times slower than fp32; bf16 or fp32 is meant for it"
PREDICT_BYTES = {"cpu": 2**20}
"""Of inputs in one batch without a backward pass; elsewhere 16 MB. On a CPU, 3,000 images of 28 x 28 at once take twice the time each that 256 do."""

__all__ = ["Fitted", "Trainer"]


class Trainer:
    """Trains and predicts with one model, parser and reader. ``seed`` decides weights, order and dropout."""

    def __init__(
        self,
        options: Training,
        *,
        model: Callable[[], nn.Module],
        parser: Parser,
        reader: Reader,
        seed: int,
        log: RunLog | None = None,
        state_dir: Path | None = None,
    ) -> None:
        """``state_dir`` is where the state of an unfinished training is kept; by default beside the log."""
        self.options = options
        self.model = model
        self.parser = parser
        self.reader = reader
        self.seed = seed if options.seed is None else options.seed
        self.log = log
        self.device = find_device(options.device)
        devices.check(options.devices, self.device)
        self._crew = devices.Crew(options.devices, self.device)
        self.criterion = Criterion(options.loss).to(self.device)
        self.hooks = Hooks(options.hooks)
        writers.attach(options.writers, log)
        self.state_dir = state_dir or _folder_of(log)
        self._threads, self._loads_beside = shared_out(options.threads, self.device)
        self.loader = self._new_loader(options.workers, cache=self._cache())
        self._predictor: nn.Module | None = None
        self._scorer: tuple[object, Scorer] | None = None
        self._predicts_with: Mapping[str, Tensor] | None = None
        self._compiled: tuple[nn.Module, Callable[..., Any]] | None = None
        self._told = [SLOW_HALF] if log is not None and self.is_slow_half else []
        self._noted: set[str] = set()

    @property
    def is_slow_half(self) -> bool:
        """Whether half precision is asked for where it only costs time."""
        return self.options.precision == "fp16" and self.device.type == "cpu"

    def _new_loader(self, num_workers: int | None, *, cache: ParsedCache | None = None) -> Loader:
        options = self.options
        return Loader(
            self.reader,
            Recipe.of(options, self.parser, self.seed),
            num_workers=num_workers,
            label_transform=None if options.label_transform is None else options.label_transform.load(),
            cache=cache,
            pin=self.device.type == "cuda",
            beside=self._loads_beside,
        )

    def _cache(self) -> ParsedCache | None:
        """The cache that the options ask for: the same for every run of this parser on this dataset."""
        if self.options.cache == "none":
            return None
        caches, digest = getattr(self.reader, "caches", None), digest_of(self.parser, self.options.transforms)
        folder = None if caches is None or digest is None else caches / digest
        if self.options.cache == "memory":
            return in_memory(folder)
        return on_disk(folder, otherwise=self.state_dir or Path.cwd())

    def _note(self, about: str, message: str | None) -> None:
        """Have something written to the log with the next warnings, once for each thing that it is about."""
        if message is not None and self.log is not None and about not in self._noted:
            self._noted.add(about)
            self._told.append(message)

    def _pass_on_warnings(self) -> None:
        """What trainer and cache have to say, as warnings of the run; each is said once."""
        (told, self._told), cache = (self._told, []), self.loader.cache
        if cache is not None:
            told, cache.told = [*told, *cache.told], []
        for message in told:
            if self.log is not None:
                self.log.append("warning", message=message)
            else:
                warnings.warn(message, stacklevel=3)

    @property
    def task(self) -> Task:
        """``classification``, ``multi-label`` or ``regression``: what ``predict`` gives."""
        return self.criterion.task

    def labelled(self, samples: Samples) -> Samples:
        """The samples with the labels that predictions are compared with: after ``label_transform``.

        The dataset's own stay where the transform gives other axes (one-hot or soft labels).
        """
        labels = samples.labels
        if self.loader.label_transform is None or labels is None or not len(labels):
            return samples
        changed = np.asarray(self.loader.transformed(labels))
        return replace(samples, labels=changed) if changed.shape == labels.shape else samples

    def fit(
        self,
        selection: Selection,
        *,
        round: int,  # noqa: A002
        start: Mapping[str, Tensor] | None = None,
        choice: Choice | None = None,
    ) -> Fitted:
        """Train on a selection, from ``start`` or from new weights. A training that was killed goes on from its kept state.

        ``choice`` says what is chosen or noted while training. Raises TrainingError naming round, epoch and step if the loss is
        no finite number, memory runs out, or shapes do not fit; BadSample naming the key if the parser fails on a sample.
        """
        began = time.perf_counter()
        if choice is not None and (told := self.why_not_choose) is not None:
            raise TrainingError(told)
        self.loader.forget()
        with memory_told(f"round {round}"):
            if self._learns_by_itself:
                return self._fit_estimator(selection, round, start)
            work = self._rank_work(selection, round, start)
            with threads(self._threads), self._crew.joined(work) as ranks:
                choice = choice or Choice()
                return self._fit(selection, round=round, start=start, choice=choice, ranks=ranks, began=began)

    @property
    def why_not_choose(self) -> str | None:
        """Why nothing can be chosen or noted while training; None if it can."""
        if self._learns_by_itself:
            return "an estimator learns by itself: selecting while training needs a torch model"
        if self.options.devices > 1:
            return "training.devices: selecting while training works on one device"
        return None

    @cached_property
    def _learns_by_itself(self) -> bool:
        """Whether the model is an estimator with ``fit`` and ``predict``, not a torch module."""
        return estimators.is_estimator(self._built(0))

    def _built(self, round: int) -> Any:  # noqa: A002
        """The model as it is built, a pure function of (seed, round)."""
        with seeded(derived_seed(self.seed, MODEL, round), self.device):
            return self.model()

    def _fit_estimator(
        self,
        selection: Selection,
        round: int,  # noqa: A002
        start: Mapping[str, Tensor] | None,
    ) -> Fitted:
        self._note("estimator", estimators.check_options(self.options))
        self._pass_on_warnings()
        with threads(self._threads), seeded(derived_seed(self.seed, TRAIN, round), self.device):
            return estimators.fit(
                self._built(round),
                self.loader,
                selection,
                options=self.options,
                seed=self.seed,
                round=round,
                start=start,
                fresh=lambda: self._built(round),
                log=self.log,
            )

    def _rank_work(self, selection: Selection, round: int, start: Mapping[str, Tensor] | None) -> "_RankWork":  # noqa: A002
        return _RankWork(
            self.options, self.model, self.parser, self.reader, self.seed, self.state_dir, selection, round, start
        )

    def _fit(
        self,
        selection: Selection,
        *,
        round: int,  # noqa: A002
        start: Mapping[str, Tensor] | None,
        choice: Choice,
        ranks: Ranks,
        began: float,
    ) -> Fitted:
        if ranks.num_ranks > 1:
            self.device = devices.device_of(self.device, ranks.rank)
            self.criterion = self.criterion.to(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        chosen, watch = self._held_out(selection, round)
        saved = self._saved(selection, round, start)
        with seeded(derived_seed(self.seed, TRAIN, round, ranks.rank), self.device):
            model, forward = self._forward_of(self.new_model(round, start), ranks)
            session = Session(
                self.options,
                model=model,
                forward=forward,
                criterion=self.criterion,
                device=self.device,
                ranks=ranks,
                seed=self.seed,
                round=round,
                selection=chosen,
                choice=choice,
                log=self.log if ranks.is_first else None,
                began=began,
                hooks=self.hooks,
                watch=watch,
                saved=saved,
            )
            if saved is not None and (state := states.load(saved.path, belongs_to=saved.belongs_to)) is not None:
                session.load_state_dict(state)
            session.run(self.loader, self._score)
        fitted = session.fitted()
        if ranks.is_first:
            if start is None and self.options.ema is not None:
                self._note("ema", unsettled(self.options.ema.decay, fitted.num_steps))
            self._pass_on_warnings()
        if saved is not None and ranks.is_first:
            saved.path.unlink(missing_ok=True)
        return fitted

    def _held_out(self, selection: Selection, round: int) -> tuple[Selection, Watch | None]:  # noqa: A002
        stopping = self.options.early_stopping
        if stopping is None:
            return selection, None
        chosen, held_out = hold_out(selection, stopping.share, seed=self.seed, round=round)
        loader = self._new_loader(0, cache=ParsedCache(MemoryRows))
        return chosen, Watch(stopping, held_out, loader=loader, criterion=self.criterion, move=self._move)

    def _saved(self, selection: Selection, round: int, start: Mapping[str, Tensor] | None) -> Saved | None:  # noqa: A002
        if self.options.checkpoint is None:
            return None
        if self.state_dir is None:
            raise ConfigError([Problem(path="training.checkpoint", message="needs a run's folder, or state_dir")])
        return Saved(
            path=self.state_dir / f"round-{round}.safetensors",
            belongs_to=states.digest(self.options, self.seed, round, selection, start),
        )

    def _forward_of(self, model: nn.Module, ranks: Ranks) -> tuple[nn.Module, Callable[..., Any]]:
        """The model, and what is called for its outputs: compiled once for all rounds on one device, or joined with others anew."""
        if not self.options.compile:
            return model, ranks.wrap(model, self.device)
        mode = None if self.options.compile is True else self.options.compile
        if ranks.num_ranks > 1:  # the processes that are joined end with the round
            return model, torch.compile(ranks.wrap(model, self.device), mode=mode)
        if self._compiled is None:
            self._compiled = model, torch.compile(ranks.wrap(model, self.device), mode=mode)
        else:
            self._compiled[0].load_state_dict(model.state_dict())
        return self._compiled

    def new_model(self, round: int, start: Mapping[str, Tensor] | None = None) -> nn.Module:  # noqa: A002
        """A model on the device: with new weights, a pure function of (seed, round), or with those of ``start``."""
        model = self._built(round)
        if not isinstance(model, nn.Module):
            raise ConfigError([Problem(path="model", message=f"gave a {type(model).__name__}, not a torch.nn.Module")])
        if start is not None:
            load_weights(model, start)
        elif self.options.start == "pretrained" and self.options.pretrained is not None:
            read_pretrained(model, self.options.pretrained)
        return model.to(self.device)

    def predict(self, weights: Mapping[str, Tensor], keys: Int64s) -> Float32s:
        """``[n, classes]`` probabilities for classification (``[n, labels]`` multi-label), else ``[n, outputs]`` values.

        Rows are in the order of ``keys``. No keys give an array of shape ``[0, 0]``.
        """
        if not len(keys):
            return np.empty((0, 0), dtype=np.float32)
        if self._learns_by_itself:
            model = estimators.restore(self._built(0), weights)
            with closing(self.in_order(keys, labelled=False)) as batches:  # type: ignore[type-var]
                return np.concatenate([estimators.predictions(model, estimators.features_of(b)) for b in batches])
        model = self._model_with(weights)
        parts = []
        limit = threads(self._threads)
        with limit, torch.inference_mode(), closing(self.in_order(keys, labelled=False)) as batches:  # type: ignore[type-var]
            for batch in batches:
                outputs = self._forward(model, batch, where="prediction")
                parts.append(self.criterion.predictions(outputs).cpu())
        return torch.cat(parts).numpy()

    def compute_signals(
        self, names: Sequence[Name], keys: Int64s, weights: Mapping[str, Tensor], *, precision: str | None = None
    ) -> Signals:
        """The signals of ``keys``, in their order, by a model with these weights: ``array[n]`` or ``[n, d]``, or ``Gradients``.

        ``names`` are those of ``signals.FUNCTIONS``, or importable functions. No keys give no arrays.
        """
        if self._learns_by_itself:
            raise TrainingError(
                "signals need a torch model, and this one is an estimator: choose a selector without signals"
            )
        with threads(self._threads):
            return self._score(self._model_with(weights), names, keys, precision=precision)

    def _score(self, model: nn.Module, names: Sequence[Name], keys: Int64s, *, precision: str | None = None) -> Signals:
        scorer = self._scorer_of(model, names, precision or self.options.precision)
        parts = []
        if len(keys):
            labelled = not OF_PREDICTION.issuperset(map(str, names))
            with closing(self.in_order(keys, labelled=labelled)) as batches:  # type: ignore[type-var]
                for batch in batches:
                    moved = batch.to(self._move)
                    try:
                        parts.append(scorer(moved.inputs, moved.labels))
                    except Exception as error:
                        raise explain(error, model, moved.inputs, where="signals") from error
        return to_arrays(parts)

    def _scorer_of(self, model: nn.Module, names: Sequence[Name], precision: str) -> Scorer:
        """The scorer that was used last if it fits: it has found the model's embedding, which takes a forward pass."""
        asked = (model, list(names), precision)
        if self._scorer is None or self._scorer[0] != asked:
            self._scorer = asked, Scorer(model, self.criterion, names, device=self.device, precision=precision)
        return self._scorer[1]

    def _model_with(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """A model in evaluation mode with these weights; the same one each time."""
        if self._predictor is None:
            self._predictor = self.new_model(0)
        if weights is not self._predicts_with:
            load_weights(self._predictor, weights)
            self._predicts_with = weights
        return self._predictor.eval() if self._predictor.training else self._predictor

    def in_order(self, keys: Int64s, *, labelled: bool = True) -> Iterator[Batch]:
        """Batches of the keys in their order, large ones, as nothing is kept for a backward pass; a few keys at once, in this thread."""
        if len(keys) <= FEW_ROWS:  # as triggers ask for: a thread would cost more than it hides
            return self._at_once.batches(Selection(keys), Plan(batch_size=FEW_IN_BATCH, labelled=labelled))
        size = max(
            self.options.batch_size,
            min(PREDICT_ROWS, PREDICT_BYTES.get(self.device.type, 16 * 2**20) // self.loader.row_bytes(keys)),
        )
        return self.loader.batches(Selection(keys), Plan(batch_size=size, labelled=labelled))

    @cached_property
    def _at_once(self) -> Loader:
        """A loader without thread or workers."""
        return self._new_loader(0)

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=self.device.type == "cuda")

    def _forward(self, model: nn.Module, batch: Batch, *, where: str) -> Tensor:
        moved = batch.to(self._move)
        try:
            with autocast(self.options.precision, self.device):
                outputs = apply(model, moved.inputs)
        except Exception as error:
            raise explain(error, model, moved.inputs, where=where) from error
        if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(batch):
            got = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
            raise TrainingError(f"{where}: the model gave {got} for {counted(len(batch), 'sample')}")
        return outputs

    def check(self, keys: Int64s) -> str:
        """Take one real batch through parser, model, loss, and a step, and say in one line what was found.

        Raises ConfigError, TrainingError or BadSample saying what does not fit.
        """
        chosen = keys[: max(2, min(len(keys), self.options.batch_size, 64))]
        if not len(chosen):
            raise TrainingError("there are no samples to check parser and model with")
        if self._learns_by_itself:
            idle = estimators.check_options(self.options)
            said = estimators.check(self._built(0), self.loader, chosen, fresh=lambda: self._built(0))
            return said if idle is None else f"{said}; warning: {idle}"
        plan = Plan(batch_size=len(chosen), augment=True)
        block = next(plan.blocks(Selection(chosen), max_batches=1))
        batch = next(self.loader.load(block, plan).batches()).to(self._move)
        model = self.new_model(0)
        with seeded(self.seed, self.device):
            loss = self._try_step(model, batch)
            with torch.inference_mode():
                outputs = self._forward(model.eval(), batch, where="check")
        if not np.isfinite(loss):
            raise TrainingError(f"check: the loss is {loss}: look for missing or huge values in what the parser gives")
        guess = float(np.log(outputs.shape[-1])) if self.task == "classification" else float("inf")
        hint = f", a guess has {guess:.2g}: are the inputs scaled?" if loss > 10 * guess else ""
        count = sum(parameter.numel() for parameter in model.parameters())
        name = getattr(model, "modyn_name", type(model).__name__)
        return (
            f"parser gives {layout(batch.inputs)}, {name} ({count:,} parameters, on {self.device}) gives {layout(outputs)}, "
            f"loss {loss:.4g}{hint}{f'; warning: {SLOW_HALF}' if self.is_slow_half else ''}"
        )

    def _try_step(self, model: nn.Module, batch: Batch) -> float:
        optimizers = build_optimizers(self.options, model)
        build_schedules(self.options, optimizers, num_steps=100, num_epochs=10)
        step = Step(
            self.options,
            model=model.train(),
            criterion=self.criterion,
            optimizers=optimizers,
            device=self.device,
            clock=Clock(),
        )
        try:
            return float(step(batch, check=True))
        except ModynError:
            raise
        except Exception as error:
            raise explain(error, model, batch.inputs, where="check") from error

    def close(self) -> None:
        """End the processes of the loader and of other devices. The trainer can be used again."""
        self.loader.close()
        self._crew.close()


@dataclass(frozen=True)
class _RankWork:
    """What another rank does: the same training on its share of each batch."""

    options: Training
    model: Callable[[], nn.Module]
    parser: Parser
    reader: Reader
    seed: int
    state_dir: Path | None
    selection: Selection
    round: int
    start: Mapping[str, Tensor] | None

    def __call__(self, ranks: Ranks) -> None:
        trainer = Trainer(
            self.options,
            model=self.model,
            parser=self.parser,
            reader=self.reader,
            seed=self.seed,
            state_dir=self.state_dir,
        )
        with closing(trainer):
            trainer._fit(
                self.selection,
                round=self.round,
                start=self.start,
                choice=Choice(),
                ranks=ranks,
                began=time.perf_counter(),
            )


def _folder_of(log: RunLog | None) -> Path | None:
    folder = getattr(log, "folder", None)
    return None if folder is None else Path(folder) / "training"
