"""The devices that share a round's batches: one, or several processes joined by torch's distributed data parallel.

Each process ("rank") trains on its share of every batch, and gradients are added up; rank 0 is the process that called ``fit``. A rank's
loss is divided by the weight of the *whole* batch, so the step is that of one device up to the order of additions.
"""

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from modyn.errors import TrainingError


@dataclass(frozen=True)
class Ranks:
    """This process among those that share batches."""

    rank: int = 0
    num_ranks: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model whose backward pass averages gradients over all ranks; the model itself if there is one."""
        if self.num_ranks == 1:
            return model
        ids = [device] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def gathered(self, content: bytes, device: torch.device) -> list[bytes]:
        """What every rank gives, in their order, on every one of them; all must call it at the same step."""
        if self.num_ranks == 1:
            return [content]
        sizes = torch.zeros(self.num_ranks, dtype=torch.int64, device=device)
        sizes[self.rank] = len(content)
        distributed.all_reduce(sizes)
        largest = int(sizes.max())
        mine = torch.zeros(largest, dtype=torch.uint8)
        mine[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        parts = [torch.empty(largest, dtype=torch.uint8, device=device) for _ in range(self.num_ranks)]
        distributed.all_gather(parts, mine.to(device))
        return [part[:size].cpu().numpy().tobytes() for part, size in zip(parts, sizes.tolist(), strict=True)]

    def agreed(self, is_due: bool, device: torch.device) -> bool:
        """What rank 0 says, on every one of them; all must call it at the same step."""
        if self.num_ranks == 1:
            return is_due
        said = torch.tensor([is_due], dtype=torch.uint8, device=device)
        distributed.broadcast(said, 0)
        return bool(said)

    def total(self, losses: Tensor) -> Tensor:
        """The sum over all ranks, on every one of them."""
        distributed.all_reduce(losses)
        return losses


def device_of(device: torch.device, rank: int) -> torch.device:
    """The device of a rank: GPU number ``rank``, or the processor for all."""
    return torch.device("cuda", rank) if device.type == "cuda" else device


def check(num_ranks: int, device: torch.device) -> None:
    """Raise TrainingError if there are not so many devices."""
    if num_ranks > 1 and device.type == "cuda" and torch.cuda.device_count() < num_ranks:
        raise TrainingError(
            f"training.devices: {num_ranks} are asked for, this machine has {torch.cuda.device_count()} GPUs"
        )
    if num_ranks > 1 and (device.type == "mps" or not distributed.is_available()):
        raise TrainingError(f"training.devices: {device.type} cannot share batches; 1 is what works")


READY, DONE = "ready", "done"
"""What a process says once it has its work, and once that is done; anything else is why it failed."""
_ENDS_WITHIN_S = 60


@dataclass(frozen=True)
class _Job:
    """What a process does for a round."""

    work: Callable[[Ranks], object]
    meeting: Path
    threads: int


class Crew:
    """The processes of ranks 1 and up: started for the first round (some seconds each), and used for all that follow."""

    def __init__(self, num_ranks: int, device: torch.device) -> None:
        self.num_ranks, self.device_type = num_ranks, device.type
        self._members: list[tuple[Any, Connection]] = []
        self._end: util.Finalize | None = None

    @contextlib.contextmanager
    def joined(self, work: Callable[[Ranks], object]) -> Iterator[Ranks]:
        """This process as rank 0, with ``work`` running as the other ranks in processes of their own.

        ``work`` must be picklable. Raises TrainingError with the reason of another rank, if one fails; all are ended then.
        """
        if self.num_ranks == 1:
            yield Ranks()
            return
        threads = torch.get_num_threads()
        try:
            with tempfile.TemporaryDirectory() as folder:
                self._begin(_Job(work, Path(folder) / "meeting", threads))
                with (
                    self._blamed(),
                    _group(Path(folder) / "meeting", Ranks(0, self.num_ranks), self.device_type, threads),
                ):
                    yield Ranks(0, self.num_ranks)
                if any(said != DONE for said in self._said(within_s=_ENDS_WITHIN_S)):
                    self.close()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes. The crew can be used again."""
        if self._end is not None:
            self._end()
        self._members, self._end = [], None

    def _begin(self, job: _Job) -> None:
        """Give everybody the job, and wait until they have it: who waits for one that has died in a group waits for half an hour.

        Raises TrainingError if it cannot be sent, or one ends before.
        """
        if not all(process.is_alive() for process, _ in self._members):
            self.close()
        if not self._members:
            self._start()
        try:
            for _, pipe in self._members:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended, and is told of below
                    pipe.send(job)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TrainingError(
                f"training.devices: model, parser and what else training is made of are sent to processes of their own, and one cannot be "
                f"({error}); functions and classes at the top level of a module can"
            ) from error
        for number, (process, pipe) in enumerate(self._members, start=1):
            try:
                said = pipe.recv()
            except (EOFError, OSError):
                process.join(10)
                raise TrainingError(
                    f"training.devices: the process of device {number} ended with code {process.exitcode} before it could begin. A script that "
                    f"trains on several devices does so under: if __name__ == '__main__'"
                ) from None
            if said != READY:
                raise TrainingError(f"training.devices: the process of device {number} could not begin: {said}")

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for rank in range(1, self.num_ranks):
            here, there = context.Pipe()
            arguments = (Ranks(rank, self.num_ranks), self.device_type, there)
            process = context.Process(target=_serve, args=arguments, name=f"modyn-rank-{rank}")
            process.start()
            there.close()
            self._members.append((process, here))
        # Before the interpreter, at its end, waits for all processes by itself.
        self._end = util.Finalize(self, _stop, args=(list(self._members),), exitpriority=10)

    def _said(self, *, within_s: float) -> Iterator[str]:
        """What each says next; nothing of one that says nothing in so many seconds, or has ended."""
        for _, pipe in self._members:
            said = ""
            with contextlib.suppress(EOFError, OSError):
                said = pipe.recv() if pipe.poll(within_s) else said
            yield said

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        """Raise what made another rank fail in place of what that led to here."""
        try:
            yield
        except Exception as error:
            reason = self._failure()
            if reason is None:
                raise
            raise TrainingError(reason) from error

    def _failure(self) -> str | None:
        """Why the first failed rank failed, if any did."""
        for number, said in enumerate(self._said(within_s=1), start=1):
            process = self._members[number - 1][0]
            if said not in ("", DONE):
                return f"device {number}: {said}"
            if process.exitcode not in (None, 0):
                return f"device {number}: its process ended with code {process.exitcode}"
        return None


def _stop(members: Sequence[tuple[Any, Connection]]) -> None:
    for process, pipe in members:
        pipe.close()
        process.terminate()
    for process, _ in members:
        process.join(10)


@contextlib.contextmanager
def _group(meeting: Path, ranks: Ranks, device_type: str, threads: int) -> Iterator[None]:
    backend = "nccl" if device_type == "cuda" else "gloo"
    torch.set_num_threads(max(1, threads // ranks.num_ranks))
    with _loopback():
        distributed.init_process_group(
            backend, init_method=meeting.as_uri(), rank=ranks.rank, world_size=ranks.num_ranks
        )
    try:
        yield
    finally:
        distributed.destroy_process_group()
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Have gloo talk over the loopback interface: all ranks are on this machine, whose host name may lead nowhere."""
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if Path("/sys/class/net/lo").exists() else "lo0")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("GLOO_SOCKET_IFNAME", None)


def _serve(ranks: Ranks, device_type: str, pipe: Connection) -> None:
    """What a process does until its pipe is closed: one job after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 ends it
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            try:
                job = pipe.recv()
            except EOFError:
                return
            except Exception as error:
                pipe.send(_reason(error))
                raise SystemExit(1) from None
            pipe.send(READY)
            try:
                with _group(job.meeting, ranks, device_type, job.threads):
                    job.work(ranks)
            except BaseException as error:
                pipe.send(_reason(error))
                raise SystemExit(1) from None
            del job
            gc.collect()
            if device_type == "cuda":
                torch.cuda.empty_cache()
            pipe.send(DONE)


def _reason(error: BaseException) -> str:
    """What went wrong, and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    words = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
    return f"{words} ({Path(place.filename).name}, line {place.lineno})"
