"""The devices that share a round's batches: one, or several processes joined by torch's distributed data parallel.

Each process ("rank") trains on its share of every batch, and gradients are added up; rank 0 is the process that called ``fit``. A rank's
loss is divided by the weight of the *whole* batch, so the step is that of one device up to the order of additions.
"""

import contextlib
import multiprocessing
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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


READY = "ready"


@dataclass
class _Others:
    """The processes of ranks 1 and up, and what they say when they fail."""

    processes: list[Any] = field(default_factory=list)
    reports: list[Connection] = field(default_factory=list)

    def start(
        self, work: Callable[[Ranks], object], ranks: Ranks, meeting: Path, device_type: str, threads: int
    ) -> None:
        """Start one more. Raises TrainingError if its work cannot be sent to it."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe(duplex=False)
        arguments = (work, ranks, meeting, device_type, threads, there)
        process = context.Process(target=_run, args=arguments, name=f"modyn-rank-{ranks.rank}")
        try:
            process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TrainingError(
                f"training.devices: model, parser and what else training is made of are sent to processes of their own, and one cannot be "
                f"({error}); functions and classes at the top level of a module can"
            ) from error
        finally:
            there.close()
        self.processes.append(process)
        self.reports.append(here)

    def await_all(self) -> None:
        """Wait until all have what they were sent: who waits for one that has died in a group waits for half an hour.

        Raises TrainingError if one ends before.
        """
        for number, report in enumerate(self.reports, start=1):
            try:
                report.recv()
            except (EOFError, OSError):
                self.processes[number - 1].join(10)
                code = self.processes[number - 1].exitcode
                raise TrainingError(
                    f"training.devices: the process of device {number} ended with code {code} before it could begin. A script that trains on "
                    f"several devices does so under: if __name__ == '__main__'"
                ) from None

    def failure(self) -> str | None:
        """Why the first failed rank failed, if any did."""
        for number, (process, report) in enumerate(zip(self.processes, self.reports, strict=True), start=1):
            with contextlib.suppress(EOFError, OSError):
                if report.poll(1):
                    return f"device {number}: {report.recv()}"
            if process.exitcode not in (None, 0):
                return f"device {number}: its process ended with code {process.exitcode}"
        return None

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(10)


@contextlib.contextmanager
def joined(num_ranks: int, device: torch.device, work: Callable[[Ranks], object]) -> Iterator[Ranks]:
    """This process as rank 0, with ``work`` running as the other ranks in processes of their own.

    ``work`` must be picklable. Raises TrainingError with the reason of another rank, if one fails.
    """
    if num_ranks == 1:
        yield Ranks()
        return
    others = _Others()
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        try:
            for rank in range(1, num_ranks):
                others.start(work, Ranks(rank, num_ranks), meeting, device.type, threads)
            others.await_all()
            with _blamed(others), _group(meeting, Ranks(0, num_ranks), device.type, threads):
                yield Ranks(0, num_ranks)
            for process in others.processes:
                process.join(60)
        finally:
            others.stop()


@contextlib.contextmanager
def _blamed(others: _Others) -> Iterator[None]:
    """Raise what made another rank fail in place of what that led to here."""
    try:
        yield
    except Exception as error:
        reason = others.failure()
        if reason is None:
            raise
        raise TrainingError(reason) from error


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


def _run(
    work: Callable[[Ranks], object], ranks: Ranks, meeting: Path, device_type: str, threads: int, report: Connection
) -> None:
    report.send(READY)
    try:
        with _group(meeting, ranks, device_type, threads):
            work(ranks)
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
        report.send(f"{words} ({Path(place.filename).name}, line {place.lineno})")
        raise SystemExit(1) from None
