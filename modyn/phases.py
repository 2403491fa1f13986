"""The phases of training in words: what the trainer logs, the terminal and a report say alike."""

from collections.abc import Mapping

PHASES = ("wait", "move", "forward", "backward", "step")
"""What every epoch has; ``score`` comes with them where samples are chosen within batches."""


def bound_by(seconds: Mapping[str, float]) -> str:
    """Which part of the machine limits training, in words.

    >>> bound_by({"wait": 3.0, "move": 0.0, "forward": 1.0, "backward": 1.0, "step": 1.0})
    'input-bound: 50% of the time is spent waiting for data'
    """
    total = sum(seconds.values())
    if total <= 0:
        return "compute-bound"
    wait, move = (seconds.get(phase, 0.0) / total for phase in ("wait", "move"))
    if wait >= max(0.2, move):
        return f"input-bound: {wait:.0%} of the time is spent waiting for data"
    if move >= 0.2:
        return f"transfer-bound: {move:.0%} of the time is spent moving data to the device"
    return f"compute-bound: {1 - wait - move:.0%} of the time is spent computing"


_WORDS = {"wait": "waiting for data", "move": "moving it", "score": "scoring"}


def shares(seconds: Mapping[str, float]) -> str:
    """Where the time went, in words.

    >>> shares({"wait": 3.0, "move": 0.0, "forward": 1.0, "backward": 1.0, "step": 1.0})
    'waiting for data 50%, moving it 0%, forward 17%, backward 17%, step 17%'
    """
    total = sum(seconds.values()) or 1.0
    return ", ".join(f"{_WORDS.get(phase, phase)} {passed / total:.0%}" for phase, passed in seconds.items())


def in_words(seconds: Mapping[str, float]) -> str:
    """What limits training, and where the time went.

    >>> in_words({"wait": 0.0, "move": 0.0, "forward": 1.0, "backward": 2.0, "step": 1.0})
    'compute-bound (waiting for data 0%, moving it 0%, forward 25%, backward 50%, step 25%)'
    """
    return f"{bound_by(seconds).partition(':')[0]} ({shares(seconds)})"
