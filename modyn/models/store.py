"""The model store: weights as safetensors with their lineage as JSON, written whole or not at all, verified on read.

``models/<run>/<round>/`` holds ``weights.safetensors`` and ``checkpoint.json``; a checkpoint's id is ``<run>/<round>``.
"""

import difflib
import glob
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modyn.errors import Damaged, NotFound, did_you_mean
from modyn.types import Checkpoint
from modyn.workspace import Workspace, sync_folder, write_durably

if TYPE_CHECKING:
    import torch

    Weights = Mapping[str, torch.Tensor]


FEW = 8
"""So many checkpoints are named where one was not found."""


class ModelStore:
    """Keeps the checkpoints of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.root = workspace.models

    def put(self, weights: "Weights", checkpoint: Checkpoint) -> Checkpoint:
        """Store weights under ``checkpoint.id``, replacing what an interrupted attempt at the same round left there.

        Returns the checkpoint with its size. Raises OSError if the disk refuses; nothing is half-written then.
        """
        from safetensors.torch import save

        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
        folder = self._folder(checkpoint.id)
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / "weights.safetensors", content)
        stored = Checkpoint(**{**asdict(checkpoint), "size_bytes": len(content)})
        lineage = asdict(stored) | {"sha256": hashlib.sha256(content).hexdigest()}
        write_durably(folder / "checkpoint.json", json.dumps(lineage, indent=1).encode())
        sync_folder(folder.parent)
        return stored

    def get(self, checkpoint_id: str) -> Checkpoint:
        """The lineage of a checkpoint. Raises NotFound, naming the nearest one."""
        return self._read(checkpoint_id)[0]

    def weights(self, checkpoint_id: str) -> "Weights":
        """The weights of a checkpoint, on the CPU. Raises NotFound, or Damaged if they are not what was stored."""
        from safetensors.torch import load

        path = self._folder(checkpoint_id) / "weights.safetensors"
        _, digest = self._read(checkpoint_id)
        content = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(f"{path} is not what was stored: its checksum differs")
        weights: Weights = load(content)
        return weights

    def checkpoints(self, run: str | None = None) -> Iterator[Checkpoint]:
        """The checkpoints kept, of one run or of all, in the order of their rounds."""
        found = [self.get(identity) for identity in self._ids() if run is None or identity.rpartition("/")[0] == run]
        return iter(sorted(found, key=lambda c: (c.run, c.round)))

    def remove(self, run: str) -> None:
        """Remove a run's checkpoints and its holdout models (``RUN.holdout-0``, ...); nothing happens if it has none."""
        for folder in (self.root / run, *self.root.glob(f"{glob.escape(run)}.holdout-*")):
            shutil.rmtree(folder, ignore_errors=True)

    def _ids(self) -> list[str]:
        return [str(p.parent.relative_to(self.root)) for p in self.root.glob("*/*/checkpoint.json")]

    def _folder(self, checkpoint_id: str) -> Path:
        run, _, number = checkpoint_id.rpartition("/")
        if not run or "/" in run or run.startswith(".") or not number.isdigit():
            raise NotFound(
                f"'{checkpoint_id}' is not the id of a checkpoint: it is written run/round, such as flights-1/0"
            )
        return self.root / run / number

    def _nearest(self, checkpoint_id: str) -> str:
        """The nearest checkpoint, or how many there are, of how many runs: a long list would help nobody."""
        known = list(self._ids())
        if len(known) <= FEW:
            return did_you_mean(checkpoint_id, known)
        runs = {identity.rpartition("/")[0] for identity in known}
        nearest = difflib.get_close_matches(checkpoint_id, known, n=1, cutoff=0)[0]
        count = f"{len(known):,} checkpoints of {len(runs):,} run{'s' if len(runs) > 1 else ''}"
        return f"Did you mean '{nearest}'? There are {count}."

    def _read(self, checkpoint_id: str) -> tuple[Checkpoint, str]:
        """A checkpoint's lineage and the checksum of its weights."""
        path = self._folder(checkpoint_id) / "checkpoint.json"
        try:
            lineage: dict[str, Any] = json.loads(path.read_bytes())
            digest = str(lineage.pop("sha256"))
            return Checkpoint(**lineage), digest
        except FileNotFoundError:
            raise NotFound(f"there is no checkpoint '{checkpoint_id}'. {self._nearest(checkpoint_id)}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Damaged(f"{path} is not what was stored") from None
