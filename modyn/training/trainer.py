"""The trainer: fits a model to a selection, predicts with weights, and checks that parser, model and loss fit each other."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import numpy as np
import torch
from torch import Tensor, nn

from modyn.errors import ConfigError, ModynError, Problem, TrainingError
from modyn.runlog import RunLog
from modyn.training.clock import Clock
from modyn.training.failures import explain
from modyn.training.loader import Batch, Loader, Plan
from modyn.training.losses import Criterion, Task
from modyn.training.optim import build_optimizers, build_schedules
from modyn.training.options import Training
from modyn.training.order import MODEL, TRAIN, derived_seed
from modyn.training.parsing import Parser
from modyn.training.randomness import seeded
from modyn.training.session import Fitted, Session
from modyn.training.step import Step, autocast
from modyn.training.tensors import apply, layout
from modyn.types import Float32s, Int64s, Reader, Selection

PREDICT_ROWS = 4096
PREDICT_BYTES = 16 * 2**20

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
    ) -> None:
        self.options = options
        self.model = model
        self.seed = seed if options.seed is None else options.seed
        self.log = log
        self.device = find_device(options.device)
        self.criterion = Criterion(options.loss).to(self.device)
        transform = None if options.label_transform is None else options.label_transform.load()
        self.loader = Loader(reader, parser, label_transform=transform, background=options.workers is None)
        self._predictor: nn.Module | None = None

    @property
    def task(self) -> Task:
        """``classification``, ``multi-label`` or ``regression``: what ``predict`` gives."""
        return self.criterion.task

    def fit(self, selection: Selection, *, round: int, start: Mapping[str, Tensor] | None = None) -> Fitted:  # noqa: A002
        """Train on a selection, from ``start`` or from new weights.

        Raises TrainingError naming round, epoch and step if the loss is no finite number, memory runs out, or shapes do not fit;
        BadSample naming the key if the parser fails on a sample.
        """
        began = time.perf_counter()
        model = self.new_model(round, start)
        session = Session(
            self.options,
            model=model,
            criterion=self.criterion,
            device=self.device,
            round=round,
            num_rows=len(selection),
            log=self.log,
            began=began,
        )
        with seeded(derived_seed(self.seed, TRAIN, round), self.device):
            session.run(self.loader, selection, seed=self.seed)
        return session.fitted()

    def new_model(self, round: int, start: Mapping[str, Tensor] | None = None) -> nn.Module:  # noqa: A002
        """A model on the device: with new weights, a pure function of (seed, round), or with those of ``start``."""
        with seeded(derived_seed(self.seed, MODEL, round), self.device):
            model = self.model()
        if not isinstance(model, nn.Module):
            raise ConfigError([Problem(path="model", message=f"gave a {type(model).__name__}, not a torch.nn.Module")])
        if start is not None:
            load_weights(model, start)
        return model.to(self.device)

    def predict(self, weights: Mapping[str, Tensor], keys: Int64s) -> Float32s:
        """``[n, classes]`` probabilities for classification (``[n, labels]`` multi-label), else ``[n, outputs]`` values.

        Rows are in the order of ``keys``. No keys give an array of shape ``[0, 0]``.
        """
        if not len(keys):
            return np.empty((0, 0), dtype=np.float32)
        if self._predictor is None:
            self._predictor = self.new_model(0)
        model = self._predictor.eval()
        load_weights(model, weights)
        parts = []
        with torch.inference_mode(), closing(self._in_order(keys)) as batches:  # type: ignore[type-var]
            for batch in batches:
                outputs = self._forward(model, batch, where="prediction")
                parts.append(self.criterion.predictions(outputs).cpu())
        return torch.cat(parts).numpy()

    def _in_order(self, keys: Int64s) -> Iterator[Batch]:
        """Batches of the keys in their order, large ones: nothing is kept for a backward pass."""
        size = max(self.options.batch_size, min(PREDICT_ROWS, PREDICT_BYTES // self.loader.row_bytes(keys)))
        plan = Plan(batch_size=size, seed=0, round=0, first_epoch=0, end_epoch=1, shuffle_window=0)
        return self.loader.batches(Selection(keys), plan)

    def _forward(self, model: nn.Module, batch: Batch, *, where: str) -> Tensor:
        moved = batch.to(lambda tensor: tensor.to(self.device, non_blocking=True))
        try:
            with autocast(self.options.precision, self.device):
                outputs = apply(model, moved.inputs)
        except Exception as error:
            raise explain(error, model, moved.inputs, where=where) from error
        if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != len(batch):
            got = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
            raise TrainingError(f"{where}: the model gave {got} for {len(batch)} samples")
        return outputs

    def check(self, keys: Int64s) -> str:
        """Take one real batch through parser, model, loss, and a step, and say in one line what was found.

        Raises ConfigError, TrainingError or BadSample saying what does not fit.
        """
        chosen = keys[: max(2, min(len(keys), self.options.batch_size, 64))]
        if not len(chosen):
            raise TrainingError("there are no samples to check parser and model with")
        plan = Plan(batch_size=len(chosen), seed=0, round=0, first_epoch=0, end_epoch=1, shuffle_window=0)
        with closing(self.loader.batches(Selection(chosen), plan)) as batches:  # type: ignore[type-var]
            batch = next(iter(batches))
        model = self.new_model(0)
        with seeded(self.seed, self.device):
            loss = self._try_step(model, batch)
            with torch.inference_mode():
                outputs = self._forward(model.eval(), batch, where="check")
        count = sum(parameter.numel() for parameter in model.parameters())
        name = getattr(model, "modyn_name", type(model).__name__)
        return (
            f"parser gives {layout(batch.inputs)}, {name} ({count:,} parameters, on {self.device}) gives {layout(outputs)}, "
            f"loss {loss:.4g}"
        )

    def _try_step(self, model: nn.Module, batch: Batch) -> float:
        moved = batch.to(lambda tensor: tensor.to(self.device))
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
            return float(step(moved, check=True))
        except ModynError:
            raise
        except Exception as error:
            raise explain(error, model, moved.inputs, where="check") from error


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a model. Raises TrainingError if they are not this model's."""
    own = model.state_dict()
    missing, foreign = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [
        f"{name} is {list(weights[name].shape)}, the model has {list(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if own[name].shape != weights[name].shape
    ]
    if missing or foreign or shapes:
        told = [f"{what} {', '.join(names[:4])}" for what, names in (("lacks", missing), ("adds", foreign)) if names]
        raise TrainingError(f"the checkpoint does not fit the model: it {'; '.join([*told, *sorted(shapes)[:4]])}")
    model.load_state_dict(dict(weights))


def find_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is a GPU if there is one. Raises ConfigError if there is none of that name."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    available = {"cpu": True, "mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}[device.type]
    if not available or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            [Problem(path="training.device", message=f"there is no {name} here; auto takes what there is")]
        )
    return device
