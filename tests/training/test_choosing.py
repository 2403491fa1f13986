"""Choosing while a round trains: within batches, anew by epoch, and what is noted for it; all of it survives a kill."""

import numpy as np
import pytest

from modyn.errors import TrainingError
from modyn.training.choice import Choice
from modyn.types import BatchRule, Gradients, Selection
from tests.training.test_resume import stopping
from tests.training.toys import Journal, everything, identity, mlp, reader, same, trainer

TOP = BatchRule(scores={"loss": 1.0}, share=0.25, form="top", uniform_share=0.0, pick=lambda *_: (np.arange(1), None))


def noting(noted):
    def record(epoch, keys, losses, right):
        noted.append((epoch, np.sort(keys), losses, right))

    return record


def halves(epoch, score):
    keys = np.arange(1000)[epoch % 2 :: 2]
    assert len(score(["loss"], keys)["loss"]) == 500
    return Selection(keys, np.full(500, 1 + epoch, dtype=np.float32))


def choice(noted=None):
    return Choice(in_batch=TOP, every_epochs=2, anew=halves, record=noting([] if noted is None else noted))


def test_choosing_within_batches_trains_on_the_share_of_each_large_batch():
    noted = []
    journal = Journal()
    fitted = trainer(log=journal).fit(everything(1024 - 24), round=0, choice=Choice(in_batch=TOP, record=noting(noted)))
    assert fitted.num_steps == 8
    (_, keys, losses, right), *more = noted
    assert more == []
    assert len(np.unique(keys)) == len(keys) == len(losses) == len(right) == 7 * 32 + 26
    assert "score" in journal.events[0][1]["seconds"]


def test_a_selection_made_anew_is_trained_on_from_its_epoch_on():
    noted = []
    trainer(epochs=5).fit(everything(), round=0, choice=Choice(every_epochs=2, anew=halves, record=noting(noted)))
    assert [len(keys) for _, keys, *_ in noted] == [1000, 1000, 500, 500, 500]
    assert np.array_equal(noted[2][1], np.arange(0, 1000, 2))


def test_noting_changes_no_byte():
    noted = []
    with_record = trainer().fit(everything(), round=0, choice=Choice(record=noting(noted)))
    assert same(with_record.weights, trainer().fit(everything(), round=0).weights)
    assert len(noted[0][1]) == 1000


@pytest.mark.parametrize("step", [3, 13, 20, 26])
def test_a_training_that_chooses_goes_on_with_the_same_bits(step, tmp_path):
    options = {"epochs": 6, "checkpoint": {"steps": 1}, "model": mlp(dropout=0.3)}
    whole_noted, noted = [], []
    whole = trainer(state_dir=tmp_path / "a", **options).fit(everything(), round=1, choice=choice(whole_noted))
    with pytest.raises(KeyboardInterrupt):
        trainer(state_dir=tmp_path / "b", **{**options, "model": stopping(step)}).fit(
            everything(), round=1, choice=choice(noted)
        )
    resumed = trainer(state_dir=tmp_path / "b", **options).fit(everything(), round=1, choice=choice(noted))
    assert same(whole.weights, resumed.weights)
    assert [epoch for epoch, *_ in noted] == list(range(6))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(whole_noted, noted, strict=True))


def test_signals_come_in_the_order_of_the_keys_and_factored():
    fit = trainer()
    weights = fit.fit(everything(), round=0).weights
    keys = np.array([7, 3, 900])
    found = fit.compute_signals(["loss", "margin", "gradient", "embedding"], keys, weights)
    turned = fit.compute_signals(["loss"], keys[::-1], weights)
    np.testing.assert_allclose(found["loss"], turned["loss"][::-1], rtol=1e-5)
    labels = reader().labels(keys)
    chances = fit.predict(weights, keys)
    np.testing.assert_allclose(found["loss"], -np.log(chances[np.arange(3), labels]), rtol=1e-4)
    gradient = found["gradient"]
    assert isinstance(gradient, Gradients)
    assert gradient.errors.shape == (3, 2)
    assert gradient.embeddings is not None
    assert gradient.embeddings.shape == (3, 16)
    np.testing.assert_array_equal(gradient.embeddings, found["embedding"])


def test_choosing_needs_one_device():
    with pytest.raises(TrainingError, match="selecting while training works on one device"):
        trainer(devices=2, parser=identity).fit(everything(), round=0, choice=choice())
