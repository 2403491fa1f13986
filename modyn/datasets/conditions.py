"""Conditions on samples, as a user types them: ``label == cat``, ``time < 2013-02-01``, ``arr_delay > 15``, ``carrier in AA, UA``.

Columns are compared whole, shard by shard, as arrays. Values are read as the column's type says; nothing is evaluated.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modyn.datasets.catalog import Head, Schema
from modyn.datasets.columns import Column
from modyn.datasets.ranks import Mask
from modyn.datasets.shards import OpenShard
from modyn.errors import DataError, did_you_mean
from modyn.types import Array, to_microseconds, unlabelled

_FORM = re.compile(r"\s*(?P<name>.+?)\s*(?P<op>==|!=|<=|>=|<|>|=|\bnot in\b|\bin\b)\s*(?P<value>.*?)\s*", re.DOTALL)
_COMPARE: Mapping[str, Any] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


@dataclass(frozen=True)
class Condition:
    """``name op values``: op is one of == != < <= > >= in, not in."""

    name: str
    op: str
    values: tuple[Any, ...]
    column: Column

    def holds(self, shard: OpenShard, labels: Callable[[], Array | None]) -> Mask:
        """For which rows of the shard, whose ``labels`` are asked for if they matter, it holds; no condition holds for an unknown label."""
        is_label = self.name == "label" and self.name not in shard.schema.columns
        values = labels() if is_label else _values(shard, self.name)
        if isinstance(values, np.ndarray):
            found = _array_holds(values, self.op, self.values)
        else:
            found = _text_holds(values, self.op, self.values)
        return found & ~unlabelled(np.asarray(values)) if is_label else found


def _values(shard: OpenShard, name: str) -> Any:
    if name in shard.schema.columns:
        return shard.column(name)
    return shard.timestamps if name == "time" else shard.explicit_keys()


def _array_holds(values: Any, op: str, wanted: tuple[Any, ...]) -> Mask:
    if op in _COMPARE:
        return np.asarray(_COMPARE[op](values, wanted[0]))
    return np.isin(values, np.array(wanted), invert=op == "not in")


def _text_holds(values: pa.Array, op: str, wanted: tuple[str, ...]) -> Mask:
    compare = {
        "==": pc.equal,
        "!=": pc.not_equal,
        "<": pc.less,
        "<=": pc.less_equal,
        ">": pc.greater,
        ">=": pc.greater_equal,
    }
    if op in compare:
        found = compare[op](values, pa.scalar(wanted[0], pa.large_string()))
    else:
        found = pc.is_in(values, pa.array(wanted, pa.large_string()))
    mask: Mask = found.to_numpy(zero_copy_only=False)
    return ~mask if op == "not in" else mask


def parse(text: str, head: Head) -> Condition:
    """A condition on the dataset's label, time, key or a payload column. Raises DataError, saying what is allowed."""
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise DataError(f"'{text}' is not a condition; write NAME OP VALUE with OP one of == != < <= > >= in, not in")
    name, op, value = match["name"], match["op"], match["value"]
    op = "==" if op == "=" else op
    column = _column(name, head)
    words = [word.strip() for word in value.split(",")] if op.endswith("in") else [value]
    return Condition(name, op, tuple(_parse_value(word, name, column, head) for word in words), column)


def _column(name: str, head: Head) -> Column:
    schema = head.schema or Schema({}, None)
    known = dict(schema.columns)
    if schema.label is not None:
        known.setdefault("label", schema.label)
    for index in ("time", "key"):
        known.setdefault(index, Column(index, "array", "int64"))
    if name not in known:
        raise DataError(
            f"dataset '{head.name}' has no column '{name}'. {did_you_mean(name, known)} Whatever they are called where "
            "they come from, a sample's label is named 'label' here and its time 'time'"
        )
    column = known[name]
    if column.kind == "bytes" or column.shape:
        raise DataError(f"column '{name}' holds {column}: conditions need one number, time or text a sample")
    return column


def _parse_value(word: str, name: str, column: Column, head: Head) -> Any:
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        word = word[1:-1]
    if column.kind == "text":
        return word
    is_own = head.schema is not None and name in head.schema.columns
    if name == "label" and not is_own and head.label_classes is not None and not word.lstrip("-").isdigit():
        if word not in head.label_classes:
            raise DataError(f"'{word}' is not a label class. {did_you_mean(word, head.label_classes)}")
        return head.label_classes.index(word)
    try:
        return _parse_number(word, "time" if name == "time" and not is_own else column.dtype)
    except ValueError:
        what = "a time such as 2013-02-01T12:00" if name == "time" and not is_own else f"a value of {column}"
        raise DataError(f"'{word}' is not {what}, which '{name}' is compared with") from None


def _parse_number(word: str, kind: str) -> Any:
    if kind == "time":
        return (
            int(word) if word.lstrip("-").isdigit() and len(word) > 8 else to_microseconds(datetime.fromisoformat(word))
        )
    dtype = np.dtype(kind)
    if dtype.kind == "M":
        return np.datetime64(datetime.fromisoformat(word).replace(tzinfo=None), "us")
    if dtype.kind == "b":
        return _parse_bool(word.lower())
    return float(word) if dtype.kind == "f" or not re.fullmatch(r"[+-]?\d+", word) else int(word)


def _parse_bool(word: str) -> bool:
    if word not in ("true", "false", "1", "0"):
        raise ValueError(word)
    return word in ("true", "1")


def all_hold(conditions: Sequence[Condition], shard: OpenShard, labels: Callable[[], Array | None]) -> Mask:
    """For which rows of the shard, whose ``labels`` are asked for if they matter, every condition holds."""
    mask = np.ones(len(shard), np.bool_)
    for condition in conditions:
        mask &= condition.holds(shard, labels)
    return mask
