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
    pooled = np.concatenate([window[thinned(len(window), rows // 2)] for window in (reference, current)])
    squares = (pooled * pooled).sum(axis=1)
    with one_blas_thread():
        squared = pooled @ (pooled.T * -2)
    squared += squares
    squared += squares[:, None]
    pairs = squared.ravel()[lower(len(pooled))]
    return middle_distance(pairs, least=(1e-6 if pooled.dtype == np.float32 else 1e-14) * float(squares.max()))


def middle_distance(pairs: Array, *, least: float = 0.0) -> float:
    """The median of distances given by their squares, those at most ``least`` taken for 0, with the exceptions of ``median_distance``."""
    if not len(pairs):
        return 1.0
    median = _median(pairs)
    if median > least:
        return float(np.sqrt(median))
    different = pairs[pairs > least]
    return float(np.sqrt(different).mean()) if len(different) else 1.0


def _median(squares: Array) -> float:
    """The median; of many float32 by counting them by their leading bits first, which no branch depends on."""
    middle = (len(squares) - 1) // 2, len(squares) // 2
    below = 0
    if squares.dtype == np.float32 and len(squares) > 2048:
        leading = np.maximum(squares, 0).view(np.uint32) >> np.uint32(18)
        up_to = np.bincount(leading).cumsum()
        first, last = np.searchsorted(up_to, middle, side="right").tolist()
        squares = squares[leading == first] if first == last else squares[(leading >= first) & (leading <= last)]
        below = int(up_to[first - 1]) if first else 0
    wanted = [middle[0] - below, middle[1] - below]
    return float(np.partition(squares, wanted)[wanted].mean())


@lru_cache(maxsize=4)
def lower(num_rows: int) -> Int64s:
    """Where the pairs of two different rows lie in a matrix of all pairs, row by row."""
    return np.asarray(np.flatnonzero(np.tri(num_rows, k=-1, dtype=bool)), dtype=np.int64)


@lru_cache(maxsize=4)
def thinned(count: int, most: int) -> Int64s:
    """Where at most so many evenly spaced of ``count`` rows are."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


class Tiles(NamedTuple):
    """Scaled squared distances of ``shape`` pairs: ``fill(rows, columns, out)`` puts a part of them into ``out``."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    fill: Callable[[slice, slice, Array], object]


def sums(reference: Array, current: Array, kernel: Kernel) -> Sums:
    """The kernel's sums over all pairs of ``reference[n, d]`` and ``current[m, d]``."""
    rows = [_extended(window, kernel.scale) for window in (reference, current)]
    with one_blas_thread():
        return totals(_products(*rows[0]), _products(rows[0][0], rows[1][1]), _products(*rows[1]), kernel)


def totals(reference: Tiles, between: Tiles, current: Tiles, kernel: Kernel) -> Sums:
    """The kernel's sums over all pairs of different rows, of tiles within the reference, between both, and within the current."""
    within = [np.array(_total(tiles, kernel, symmetric=True)) for tiles in (reference, current)]
    return Sums(within[0], np.array(_total(between, kernel, symmetric=False)), within[1])


def permuted_sums(reference: Array, current: Array, kernel: Kernel, members: Array) -> Sums:
    """The kernel's sums for each division of the pooled rows: ``members[n + m, p]`` is 1 where a row counts as the reference's."""
    return divided(_products(*_extended(np.concatenate([reference, current]), kernel.scale)), kernel, members)


def divided(pooled: Tiles, kernel: Kernel, members: Array) -> Sums:
    """The kernel's sums for each division of the pooled rows, of tiles of all their pairs.

    One pass over the tiles serves all p divisions: it costs p / d of the pass that makes the tiles.
    """
    weights = np.column_stack([members, np.ones(len(members))]).astype(pooled.dtype)

    def parts(place: Place, tile: Array) -> tuple[Array, Array, float]:
        rows, columns = place
        twice = 1.0 if rows == columns else 2.0
        products = (tile @ weights[columns]).astype(np.float64)
        inside = twice * (members[rows] * products[:, :-1]).sum(axis=0)
        margins = members[rows].T @ products[:, -1]
        if rows != columns:
            margins += members[columns].T @ tile.sum(axis=0, dtype=np.float64)
        return inside, margins, twice * float(products[:, -1].sum())

    with one_blas_thread():
        found = _over_tiles(pooled, kernel, parts, symmetric=True)
    inside, margins, total = (sum(part[n] for part in found) for n in range(3))
    return Sums(np.asarray(inside), np.asarray(margins - inside), np.asarray(total - 2 * margins + inside))


def _extended(rows: Array, scale: float) -> tuple[Array, Array]:
    """The left and right factors whose product is ``scale * d^2``."""
    squares = (rows * rows).sum(axis=1, keepdims=True)
    ones = np.ones_like(squares)
    factor = rows.dtype.type(scale)
    left = np.concatenate([rows * (-2 * factor), squares * factor, ones * factor], axis=1)
    return left, np.concatenate([rows, ones, squares], axis=1)


def _products(left: Array, right: Array) -> Tiles:
    def fill(rows: slice, columns: slice, out: Array) -> None:
        np.matmul(left[rows], right[columns].T, out=out)

    return Tiles((len(left), len(right)), left.dtype, fill)


def _total(tiles: Tiles, kernel: Kernel, *, symmetric: bool) -> float:
    """The sum over all pairs; ``symmetric`` says that both are the same rows, whose pairs with themselves are left out."""

    def part(place: Place, tile: Array) -> float:
        return float(tile.sum()) * (2 if symmetric and place[0] != place[1] else 1)

    return sum(_over_tiles(tiles, kernel, part, symmetric=symmetric))


Place = tuple[slice, slice]
"""The rows and the columns of a tile."""
R = TypeVar("R")


def _over_tiles(tiles: Tiles, kernel: Kernel, function: Callable[[Place, Array], R], *, symmetric: bool) -> list[R]:
    """The function of each tile, in order; of a symmetric matrix the tiles on and above the diagonal, which is set to 0.

    Threads take whole tiles. BLAS, where tiles are products, should run in one thread: on a busy machine that is up to 10 times as fast as
    BLAS threads that wait for each other.
    """

    def work(place: Place) -> R:
        rows, columns = place
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        tile = _space(tiles.dtype)[: shape[0] * shape[1]].reshape(shape)
        tiles.fill(rows, columns, tile)
        kernel.finish(tile)
        if symmetric and rows == columns:
            np.fill_diagonal(tile, 0)
        return function(place, tile)

    places = _places(*tiles.shape, symmetric=symmetric)
    threads = min(len(os.sched_getaffinity(0)), len(places) // 4) if len(places) >= 8 else 1
    if threads < 2:
        return [work(place) for place in places]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, places))


_spaces = threading.local()


def _space(dtype: np.dtype[Any]) -> Array:
    """Memory for a tile, this thread's own and used again: fresh memory of this size costs as much as the tile's arithmetic."""
    if dtype.char not in _spaces.__dict__:
        _spaces.__dict__[dtype.char] = np.empty(TILE * TILE, dtype)
    space: Array = _spaces.__dict__[dtype.char]
    return space


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
