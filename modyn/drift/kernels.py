"""Sums of a kernel over all pairs of rows, in tiles: 20,000 x 20,000 pairs of 512 columns need some tens of MB beside the data.

Rows are extended so that one matrix product gives the scaled squared distances of a tile: [-2x, |x|^2, 1] . [y, 1, |y|^2] = |x - y|^2. In
float32 the error of a squared distance is about 1e-7 of the squared norms, so rows are centred first; up to 500 rows that come in float64 stay so.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from modyn.drift import complete
from modyn.types import Array, Int64s

TILE = 512
EXACT_ROWS = 500


class Kernel(NamedTuple):
    """A function of the squared distance: ``finish`` turns a tile of ``scale * d^2`` into kernel values, in place."""

    scale: float
    finish: Callable[[Array], object]


class Sums(NamedTuple):
    """Sums of a kernel over the ordered pairs of two different rows: within the reference, between both (once), within the current."""

    reference: Array
    between: Array
    current: Array


def rbf(bandwidth: float) -> Kernel:
    """exp(-d^2 / (2 bandwidth^2))."""
    return Kernel(-0.5 / bandwidth**2, lambda tile: np.exp(np.minimum(tile, 0, out=tile), out=tile))


def euclidean(reference: Array, current: Array) -> Kernel:
    """The distance itself, 0 where it is lost in the rounding of these rows' squared norms."""
    largest = max(float((rows * rows).sum(axis=1).max()) for rows in (reference, current))
    least = 8 * float(np.finfo(reference.dtype).eps) * largest

    def finish(tile: Array) -> None:
        tile[tile <= least] = 0
        np.sqrt(tile, out=tile)

    return Kernel(1.0, finish)


def prepared(reference: Array, current: Array) -> tuple[Array, Array]:
    """Both windows complete, centred on their common mean, in float32; in float64 if one comes so and they have at most 500 rows."""
    reference, current = complete(reference, current)
    num_rows = len(reference) + len(current)
    mean = (reference.sum(axis=0, dtype=np.float64) + current.sum(axis=0, dtype=np.float64)) / num_rows
    exact = num_rows <= EXACT_ROWS and np.result_type(reference, current) == np.float64
    kind = np.float64 if exact else np.float32
    return (reference - mean.astype(kind)).astype(kind, copy=False), (current - mean.astype(kind)).astype(
        kind, copy=False
    )


def median_distance(reference: Array, current: Array, *, rows: int = 200) -> float:
    """The median distance between evenly spaced rows of the pooled windows, the usual bandwidth (Gretton et al. 2012, section 8).

    Where most rows are equal and the median is 0, the mean distance of those that differ; 1 if all rows are equal. Of 200 rows it is within about
    3 % of that of all rows.
    """
    pooled = np.concatenate([_thinned(reference, rows // 2), _thinned(current, rows // 2)])
    squares = (pooled * pooled).sum(axis=1)
    with one_blas_thread():
        squared = pooled @ (pooled.T * -2)
    squared += squares
    squared += squares[:, None]
    pairs = squared.ravel()[_pairs(len(pooled))]
    if not len(pairs):
        return 1.0
    least = (1e-6 if pooled.dtype == np.float32 else 1e-14) * float(squares.max())
    middle = (len(pairs) - 1) // 2, len(pairs) // 2
    median = float(np.partition(pairs, middle)[list(middle)].mean())
    if median > least:
        return float(np.sqrt(median))
    different = pairs[pairs > least]
    return float(np.sqrt(different).mean()) if len(different) else 1.0


@lru_cache(maxsize=4)
def _pairs(num_rows: int) -> Int64s:
    """Where the pairs of two different rows lie in a matrix of all pairs, row by row."""
    return np.asarray(np.flatnonzero(np.tri(num_rows, k=-1, dtype=bool)), dtype=np.int64)


def _thinned(rows: Array, most: int) -> Array:
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)])


def sums(reference: Array, current: Array, kernel: Kernel) -> Sums:
    """The kernel's sums over all pairs of ``reference[n, d]`` and ``current[m, d]``."""
    rows = [_extended(window, kernel.scale) for window in (reference, current)]
    with one_blas_thread():
        within = [_total(*pair, kernel, symmetric=True) for pair in rows]
        between = _total(rows[0][0], rows[1][1], kernel, symmetric=False)
    return Sums(np.array(within[0]), np.array(between), np.array(within[1]))


def permuted_sums(reference: Array, current: Array, kernel: Kernel, members: Array) -> Sums:
    """The kernel's sums for each division of the pooled rows: ``members[n + m, p]`` is 1 where a row counts as the reference's.

    One pass over the tiles serves all p divisions: it costs p / d of the pass that makes the tiles.
    """
    left, right = _extended(np.concatenate([reference, current]), kernel.scale)
    weights = np.column_stack([members, np.ones(len(members))]).astype(left.dtype)

    def parts(place: Place, tile: Array) -> tuple[Array, Array, float]:
        rows, columns = place
        twice = 1.0 if rows == columns else 2.0
        products = (tile @ weights[columns]).astype(np.float64)
        inside = twice * (members[rows] * products[:, :-1]).sum(axis=0)
        margins = members[rows].T @ products[:, -1]
        if rows != columns:
            margins += members[columns].T @ tile.sum(axis=0, dtype=np.float64)
        return inside, margins, twice * float(products[:, -1].sum())

    found = _over_tiles(left, right, kernel, parts, symmetric=True)
    inside, margins, total = (sum(part[n] for part in found) for n in range(3))
    return Sums(np.asarray(inside), np.asarray(margins - inside), np.asarray(total - 2 * margins + inside))


def _extended(rows: Array, scale: float) -> tuple[Array, Array]:
    """The left and right factors whose product is ``scale * d^2``."""
    squares = (rows * rows).sum(axis=1, keepdims=True)
    ones = np.ones_like(squares)
    factor = rows.dtype.type(scale)
    left = np.concatenate([rows * (-2 * factor), squares * factor, ones * factor], axis=1)
    return left, np.concatenate([rows, ones, squares], axis=1)


def _total(left: Array, right: Array, kernel: Kernel, *, symmetric: bool) -> float:
    """The sum over all pairs; ``symmetric`` says that both are the same rows, whose pairs with themselves are left out."""

    def part(place: Place, tile: Array) -> float:
        return float(tile.sum()) * (2 if symmetric and place[0] != place[1] else 1)

    return sum(_over_tiles(left, right, kernel, part, symmetric=symmetric))


Place = tuple[slice, slice]
"""The rows and the columns of a tile."""
R = TypeVar("R")


def _over_tiles(
    left: Array, right: Array, kernel: Kernel, function: Callable[[Place, Array], R], *, symmetric: bool
) -> list[R]:
    """The function of each tile, in order; of a symmetric matrix the tiles on and above the diagonal, which is set to 0.

    Threads take whole tiles and BLAS runs in one thread: on a busy machine it is up to 10 times as fast as BLAS threads that wait for each other.
    """
    own = threading.local()

    def work(place: Place) -> R:
        rows, columns = place
        if not hasattr(own, "space"):
            own.space = np.empty(TILE * TILE, left.dtype)
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        tile = own.space[: shape[0] * shape[1]].reshape(shape)
        np.matmul(left[rows], right[columns].T, out=tile)
        kernel.finish(tile)
        if symmetric and rows == columns:
            np.fill_diagonal(tile, 0)
        return function(place, tile)

    places = _places(len(left), len(right), symmetric=symmetric)
    threads = min(len(os.sched_getaffinity(0)), len(places) // 4)
    with one_blas_thread():
        if threads < 2:
            return [work(place) for place in places]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, places))


def _places(num_rows: int, num_columns: int, *, symmetric: bool) -> list[Place]:
    def cuts(start: int, end: int) -> list[slice]:
        return [slice(first, min(first + TILE, end)) for first in range(start, end, TILE)]

    return [
        (rows, columns) for rows in cuts(0, num_rows) for columns in cuts(rows.start if symmetric else 0, num_columns)
    ]


@cache
def _blas() -> Any:
    """The BLAS libraries in this process; finding them takes some ms, so it is done once."""
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped, unused-ignore]

    return ThreadpoolController().select(user_api="blas")


_limited = threading.local()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread; setting it takes a tenth of a millisecond, so within another of these nothing is set."""
    if getattr(_limited, "here", False):
        yield
        return
    with _blas().limit(limits=1):
        _limited.here = True
        try:
            yield
        finally:
            _limited.here = False
