"""Worker processes: the same bytes for any number of them, and clear words when something breaks in one."""

import os
import signal
from contextlib import closing

import numpy as np
import pytest
import torch

from modyn.errors import BadSample, TrainingError
from modyn.training.memory_reader import MemoryReader
from modyn.training.parsing import Parser
from tests.training.toys import everything, identity, one, reader, same, trainer


def jitter(sample):
    """An augmentation that draws from the global generators."""
    return sample + 0.1 * torch.randn(sample.shape) + float(np.random.rand())


@pytest.mark.parametrize("workers", [1, 4])
def test_a_per_sample_parser_gives_the_same_bytes_for_any_number_of_workers(workers):
    alone = trainer(parser=one, per_sample=True, workers=0, epochs=2).fit(everything(), round=1)
    fit = trainer(parser=one, per_sample=True, workers=workers, epochs=2)
    assert same(alone.weights, fit.fit(everything(), round=1).weights)
    fit.close()


@pytest.mark.parametrize("workers", [None, 1, 4])
def test_a_batch_parser_gives_the_same_bytes_for_any_number_of_workers(workers):
    alone = trainer(workers=0, epochs=2).fit(everything(), round=1)
    fit = trainer(workers=workers, epochs=2)
    assert same(alone.weights, fit.fit(everything(), round=1).weights)
    fit.close()


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_per_sample_augmentation_gives_the_same_bytes_for_any_number_of_workers(workers):
    augment = {"per_sample": f"{__name__}:jitter"}
    alone = trainer(augment=augment, workers=0, epochs=2).fit(everything(), round=1)
    fit = trainer(augment=augment, workers=workers, epochs=2)
    assert same(alone.weights, fit.fit(everything(), round=1).weights)
    fit.close()
    assert not same(alone.weights, trainer(epochs=2).fit(everything(), round=1).weights)


def test_workers_live_on_between_rounds_and_predictions():
    fit = trainer(parser=one, per_sample=True, workers=2)
    fitted = fit.fit(everything(), round=0)
    pool = fit.loader._pool
    assert pool is not None
    np.testing.assert_array_equal(
        fit.predict(fitted.weights, np.arange(1000)), trainer().predict(fitted.weights, np.arange(1000))
    )
    fit.fit(everything(), round=1)
    assert fit.loader._pool is pool
    fit.close()
    assert not pool.is_open


def test_a_parser_that_raises_in_a_worker_names_the_key_and_the_line():
    def looked_at(x):
        if x[0] == 99:
            raise ValueError("no good")
        return x

    def picky(sample):
        return torch.from_numpy(looked_at(sample["x"]))

    data = reader()
    data.columns["x"][431, 0] = 99
    fit = trainer(data=data, parser=picky, per_sample=True, workers=2)
    with pytest.raises(
        BadSample, match=r"sample 431: parser .*picky raised ValueError: no good \(test_workers.py, line \d+: raise"
    ):
        fit.fit(everything(), round=0)


def test_an_odd_shape_in_a_worker_names_the_key():
    data = MemoryReader({"x": np.arange(10, dtype=np.float32)}, labels=np.zeros(10, dtype=np.int64))

    def odd(sample):
        return torch.zeros(8 if sample["x"] != 6 else 9)

    fit = trainer(data=data, parser=odd, per_sample=True, workers=1, shuffle=False)
    with pytest.raises(BadSample, match=r"sample 6: parser .*odd gave float32\[9\], but float32\[8\] for sample 0"):
        fit.fit(everything(10), round=0)


def test_a_killed_worker_is_a_clear_error_and_the_trainer_goes_on():
    def deadly(sample):
        if sample["x"][0] == 99:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.from_numpy(sample["x"])

    data = reader()
    before = float(data.columns["x"][431, 0])
    data.columns["x"][431, 0] = 99
    fit = trainer(data=data, parser=deadly, per_sample=True, workers=2)
    with pytest.raises(TrainingError, match=r"worker process was killed by SIGKILL.*memory.*can be resumed"):
        fit.fit(everything(), round=0)
    data.columns["x"][431, 0] = before
    assert same(fit.fit(everything(), round=0).weights, trainer().fit(everything(), round=0).weights)
    fit.close()


def test_a_training_that_stops_early_leaves_no_process_behind():
    fit = trainer(parser=one, per_sample=True, workers=2, samples=64)
    assert fit.fit(everything(), round=0).num_steps == 2
    fit.close()
    assert fit.loader._pool is None


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("workers", [None, 2])
def test_a_cache_parses_each_sample_once_and_changes_no_byte(cache, workers, tmp_path):
    parsed: list[int] = []

    def counting(columns):
        parsed.append(len(columns["x"]))
        return columns["x"]

    fit = trainer(cache=cache, workers=workers, epochs=3, parser=counting, state_dir=tmp_path)
    fitted = fit.fit(everything(), round=0)
    fit.fit(everything(), round=1)
    assert same(fitted.weights, trainer(epochs=3).fit(everything(), round=0).weights)
    assert sum(size for size in parsed if size > 2) == (1000 if workers is None else 0)
    assert list(tmp_path.iterdir()) == []
    fit.close()


def test_a_cache_does_not_bring_back_a_deleted_sample():
    from modyn.errors import NotFound

    data = reader()
    fit = trainer(data=data, cache="memory")
    fit.fit(everything(), round=0)
    data._live[17] = False
    with pytest.raises(NotFound, match="sample 17 is deleted"):
        fit.fit(everything(), round=1)


def test_the_parser_of_a_pipeline_may_be_any_function():
    assert identity({"x": np.zeros(2)}).shape == (2,)


def test_samples_of_another_type_than_the_first_are_told_apart_by_processes():
    def widened(sample):
        return one(sample).double() if sample["x"][0] > 1.5 else one(sample)

    unsteady = trainer(parser=widened, per_sample=True, workers=2)
    with closing(unsteady), pytest.raises(BadSample, match=r"gave float64\[8\]|gave float64\[\d+, 8\], but float32"):
        unsteady.fit(everything(), round=0)


def test_a_cache_on_disk_makes_the_folder_it_needs_and_leaves_no_file(tmp_path):
    kept = trainer(parser=one, per_sample=True, workers=0, cache="disk", state_dir=tmp_path / "run" / "training")
    alone = trainer(parser=one, per_sample=True, workers=0)
    assert same(kept.fit(everything(), round=0).weights, alone.fit(everything(), round=0).weights)
    assert list((tmp_path / "run" / "training").iterdir()) == []


@pytest.mark.parametrize("kind", ["another type", "another shape", "more tensors", "other names"])
def test_a_sample_unlike_the_first_is_named_wherever_it_is_parsed(kind):
    odd = {
        "another type": lambda x: (x, x.double()),
        "another shape": lambda x: (x, torch.zeros(9)),
        "more tensors": lambda x: (x, x, x),
        "other names": lambda x: {"a": x, "b": x},
    }[kind]
    parser = Parser(lambda sample: odd(one(sample)) if sample["n"] == 431 else (one(sample), one(sample)), True)
    columns = {"x": np.zeros((1000, 8), np.float32), "n": np.arange(1000)}
    with pytest.raises(
        BadSample, match=r"sample 1431: parser .* gave .*, but \(float32\[8\], float32\[8\]\) for sample 1000"
    ):
        parser(columns, np.arange(1000, 2000))


def test_per_sample_dicts_and_numbers_are_stacked():
    parser = Parser(lambda sample: {"x": sample["x"], "mean": sample["x"].mean()}, True)
    columns = {"x": np.arange(2400, dtype=np.float32).reshape(600, 4)}
    inputs = parser(columns, np.arange(600))
    np.testing.assert_array_equal(inputs["x"].numpy(), columns["x"])
    np.testing.assert_array_equal(inputs["mean"].numpy(), columns["x"].mean(1))
