"""Worker processes that read and parse, and write tensors where the training process sees them.

They are forked, live as long as their loader, and share anonymous memory with it: a row is written once, into the place in which it
is trained on. What is in which place does not depend on how many workers there are.
"""

import contextlib
import gc
import itertools
import mmap
import multiprocessing
import signal
import warnings
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

import torch

from modyn import errors
from modyn.errors import BadSample, ModynError, TrainingError
from modyn.training.blocks import Block
from modyn.training.recipe import Recipe
from modyn.training.tensors import Inputs, Layout, assembled, each, layout
from modyn.types import Int64s, Reader
from modyn.usercode import exit_error


@dataclass(frozen=True, eq=False)
class Job:
    """Rows for one worker: ``keys[n]`` go to the rows from ``row`` on of ``num_rows`` in a slab."""

    slab: int
    row: int
    num_rows: int
    keys: Int64s
    round: int
    epoch: int
    augment: bool


class Pool:
    """Processes with the memory that they share with this one."""

    def __init__(
        self, reader: Reader, recipe: Recipe, *, num_workers: int, example: Inputs, capacity: int, split: bool
    ) -> None:
        self.layout = Layout.of(example, capacity)
        self.split = split
        self._depth = 2 if split else num_workers + 1
        self._slabs = [mmap.mmap(-1, self.layout.nbytes) for _ in range(self._depth + 1)]
        self._workers: list[tuple[ForkProcess, Connection]] = []
        self._turn = self._outstanding = 0
        context = multiprocessing.get_context("fork")
        for _ in range(num_workers):
            here, there = context.Pipe()
            inherited = [connection for _, connection in self._workers] + [here]
            arguments = (there, inherited, self._slabs, self.layout, reader, recipe)
            process = context.Process(target=_work, args=arguments, name="modyn-loader", daemon=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            there.close()
            self._workers.append((process, here))
        self._finalizer = weakref.finalize(self, _stop, list(self._workers))

    def run(self, blocks: Iterator[Block], *, round: int, augment: bool) -> Generator[tuple[Block, Inputs], None, None]:  # noqa: A002
        """The inputs of each block, in order; those of a block are overwritten once the next is asked for.

        Raises what the recipe raises, and TrainingError if a worker process dies; the pool is closed then.
        """
        slabs = itertools.cycle(range(len(self._slabs)))
        pending: deque[tuple[Block, int, list[int]]] = deque()
        try:
            for block in itertools.chain(blocks, [None] * self._depth):
                if block is not None:
                    slab = next(slabs)
                    pending.append((block, slab, self._send(block, slab, round, augment)))
                if pending and (block is None or len(pending) > self._depth - 1):
                    done, slab, workers = pending.popleft()
                    for worker in workers:
                        self._receive(worker)
                    yield done, assembled(self.layout.structure, self.layout.tensors(self._slabs[slab], len(done.keys)))
        finally:
            if self._outstanding:
                self.close()

    def _send(self, block: Block, slab: int, round: int, augment: bool) -> list[int]:  # noqa: A002
        """Share out a block; the numbers of the workers that it went to."""
        num_rows = len(block.keys)
        if self.split or not num_rows:
            share = max(1, -(-num_rows // len(self._workers)))
            stretches = [(low, min(low + share, num_rows)) for low in range(0, num_rows, share)]
        else:
            stretches = [(0, num_rows)]
        sent = []
        for low, high in stretches:
            worker, self._turn = self._turn, (self._turn + 1) % len(self._workers)
            job = Job(slab, low, num_rows, block.keys[low:high], round, block.epoch, augment)
            try:
                self._workers[worker][1].send(job)
            except (BrokenPipeError, ConnectionResetError):
                raise self._died(worker) from None
            self._outstanding += 1
            sent.append(worker)
        return sent

    def _receive(self, worker: int) -> None:
        try:
            error = self._workers[worker][1].recv()
        except (EOFError, ConnectionResetError):
            raise self._died(worker) from None
        self._outstanding -= 1
        if error is not None:
            kind, words = error
            raise getattr(errors, kind)(words)

    def _died(self, worker: int) -> TrainingError:
        process = self._workers[worker][0]
        process.join(5)
        code = process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return TrainingError(
            f"a loader's worker process {how}. Often memory ran out: take fewer workers or smaller batches; "
            f"the run can be resumed"
        )

    @property
    def is_open(self) -> bool:
        return self._finalizer.alive and all(process.is_alive() for process, _ in self._workers)

    def close(self) -> None:
        """End the processes. Does nothing if they have ended."""
        self._finalizer()


def _stop(workers: Sequence[tuple[ForkProcess, Connection]]) -> None:
    for process, connection in workers:
        connection.close()
        process.terminate()
    for process, _ in workers:
        process.join(5)


def _work(
    jobs: Connection,
    inherited: Sequence[Connection],
    slabs: Sequence[mmap.mmap],
    layout_: Layout,
    reader: Reader,
    recipe: Recipe,
) -> None:
    """What a worker process does until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    gc.freeze()  # what was there before the fork need not be looked through again, and stays shared
    for connection in inherited:
        connection.close()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = jobs.recv()
            jobs.send(_done(job, slabs[job.slab], layout_, reader, recipe))


def _done(job: Job, slab: mmap.mmap, expected: Layout, reader: Reader, recipe: Recipe) -> tuple[str, str] | None:
    """Do a job; kind and words of the error to raise in the training process, if any."""
    try:
        columns = reader.read(job.keys)
        places = [tensor[job.row : job.row + len(job.keys)] for tensor in expected.tensors(slab, job.num_rows)]
        out = assembled(expected.structure, places)
        if job.augment:
            inputs = recipe(columns, job.keys, round=job.round, epoch=job.epoch, out=out)
        else:
            inputs = recipe.parse(columns, job.keys, out=out)
        if inputs is out:
            return None
        if not expected.same(inputs):
            example = expected.tensors(slab, 1)
            raise BadSample(
                f"samples {job.keys[0]} to {job.keys[-1]}: parser {recipe.parser.name} gave {layout(inputs)}, but "
                f"{layout(assembled(expected.structure, example))} for one sample before"
            )
        for place, tensor in zip(places, each(inputs), strict=True):
            place.copy_(tensor)
    except SystemExit as error:
        return _told(exit_error(error))
    except Exception as error:
        return _told(error)
    return None


def _told(error: Exception) -> tuple[str, str]:
    """Kind and words of an error, as they go through a pipe."""
    name = type(error).__name__
    if isinstance(getattr(errors, name, None), type) and not isinstance(error, errors.MissingExtra):
        return name, str(error)
    return ("ModynError", str(error)) if isinstance(error, ModynError) else ("DataError", f"{name}: {error}")


def available() -> bool:
    """Whether this platform can fork."""
    return "fork" in multiprocessing.get_all_start_methods()
