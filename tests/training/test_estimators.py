"""scikit-learn estimators as models: kept as arrays, or refused by name."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, Ridge, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from modyn.errors import TrainingError
from modyn.training.estimator import predictions
from modyn.training.memory_reader import MemoryReader
from modyn.types import Selection
from tests.training.toys import Journal, everything, reader, same, trainer

KEYS = np.arange(1000)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogisticRegression(max_iter=200),
        lambda: SGDClassifier(loss="log_loss"),
        lambda: SGDClassifier(loss="hinge", average=True),
        Perceptron,
        GaussianNB,
        LinearDiscriminantAnalysis,
    ],
)
def test_a_classifier_learns_is_kept_as_arrays_and_predicts(make):
    fit = trainer(model=make, epochs=3)
    fitted = fit.fit(everything(), round=0)
    predicted = trainer(model=make).predict(fitted.weights, KEYS)
    assert predicted.shape[0] == 1000
    guess = predicted.argmax(1) if predicted.shape[1] == 2 else predicted[:, 0]
    assert (guess == reader().labels(KEYS)).mean() > 0.85
    assert same(fitted.weights, trainer(model=make, epochs=3).fit(everything(), round=0).weights)


@pytest.mark.parametrize("make", [LinearRegression, Ridge, SGDRegressor])
def test_a_regressor_predicts_values_as_columns(make):
    data = reader()
    values = MemoryReader(data.columns, labels=data.columns["x"][:, 0] * 2)
    fit = trainer(data=values, model=make, loss="mse", epochs=5)
    predicted = fit.predict(fit.fit(everything(), round=0).weights, KEYS)
    assert predicted.shape == (1000, 1)
    assert np.abs(predicted[:, 0] - data.columns["x"][:, 0] * 2).mean() < 0.1


@pytest.mark.parametrize("make", [GaussianNB, Perceptron, lambda: LogisticRegression(max_iter=200)])
def test_columns_are_classes_also_where_a_round_lacks_some(make):
    data = reader(classes=3)
    labels = data.labels(KEYS)
    of_two = Selection(np.flatnonzero(labels != 1))
    fit = trainer(data=data, model=make, epochs=3)
    predicted = fit.predict(fit.fit(of_two, round=0).weights, KEYS)
    assert predicted.shape == (1000, 3)
    assert not predicted[:, 1].any()
    assert (predicted.argmax(1) == labels)[labels != 1].mean() > 0.9


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (np.array([2, 0]), [[0.75, 0, 0.25]]),
        ([1, 0], [[0.75, 0.25]]),
        ([np.array([0, 1]), np.array([0, 1, 2])], [[0.25, 0.75]]),
        (np.array(["a", "b"]), [[0.25, 0.75]]),
    ],
    ids=["any order", "a list", "several outputs", "text"],
)
def test_columns_are_put_where_they_belong_if_classes_are_numbers(classes, expected):
    class Own:
        classes_ = classes

        def predict_proba(self, features):
            return [[0.25, 0.75]]

    assert predictions(Own(), np.zeros((1, 3))).tolist() == expected


def test_a_class_that_a_checkpoint_does_not_know_is_told():
    data = reader(classes=3)
    fit = trainer(data=data, model=GaussianNB)
    first = fit.fit(Selection(np.flatnonzero(data.labels(KEYS) != 1)), round=0)
    with pytest.raises(TrainingError, match=r"round 1: class 1 is new, .* start: scratch"):
        fit.fit(everything(), round=1, start=first.weights)


@pytest.mark.parametrize("make", [lambda: SGDClassifier(loss="log_loss"), lambda: LogisticRegression(max_iter=200)])
def test_the_number_of_samples_in_a_round_holds_for_estimators_too(make):
    fit = trainer(model=make, samples=[96, 1500])
    assert fit.fit(everything(), round=0).num_seen == 96
    if hasattr(make(), "partial_fit"):
        assert fit.fit(everything(), round=1).num_seen == 1480


def test_an_estimator_with_partial_fit_goes_on_from_a_checkpoint():
    fit = trainer(model=lambda: SGDClassifier(loss="log_loss"), shuffle=False)
    whole = trainer(model=lambda: SGDClassifier(loss="log_loss"), shuffle=False, epochs=1)
    first = fit.fit(everything(500), round=0)
    second = fit.fit(everything(500), round=1, start=first.weights)
    assert float(second.weights["t_:n"]) == 1001
    assert not same(second.weights, whole.fit(everything(500), round=1).weights)


def test_sample_weights_reach_the_estimator():
    weights = np.r_[np.full(500, 5.0), np.full(500, 0.1)]
    make = LogisticRegression
    plain = trainer(model=make).fit(everything(), round=0)
    assert not same(plain.weights, trainer(model=make).fit(everything(1000, weights), round=0).weights)
    with pytest.raises(TrainingError, match="takes no sample weights"):
        trainer(model=LinearDiscriminantAnalysis).fit(everything(1000, weights), round=0)


@pytest.mark.parametrize("make", [RandomForestClassifier, KNeighborsClassifier, GradientBoostingClassifier])
def test_an_estimator_whose_state_is_objects_is_refused(make):
    with pytest.raises(TrainingError, match=r"(Forest|KNeighbors|Boosting)Classifier.*(keeps|cannot be kept)"):
        trainer(model=make).fit(everything(), round=0)


def test_check_and_the_log_know_estimators():
    journal = Journal()
    told = trainer(model=GaussianNB).check(KEYS)
    assert told == "parser gives float32[32, 8], GaussianNB gives [32, 2]"
    fitted = trainer(model=GaussianNB, log=journal, epochs=3).fit(everything(), round=3)
    assert (fitted.num_samples, fitted.num_seen) == (1000, 3000)
    assert np.isnan(fitted.loss)
    assert (journal.events[0][1]["num_samples"], journal.events[0][1]["loss"]) == (3000, None)
    with pytest.raises(TrainingError, match="signals need a torch model"):
        trainer(model=GaussianNB).compute_signals(["loss"], KEYS, {})
    data = reader()
    data.columns["x"][3] = np.nan
    with pytest.raises(TrainingError, match="GaussianNB: Input X contains NaN"):
        trainer(data=data, model=GaussianNB).fit(everything(), round=0)


def test_options_of_torch_models_are_told_to_change_nothing_for_an_estimator_once():
    make = lambda: SGDClassifier(loss="log_loss")  # noqa: E731
    log = Journal()
    fit = trainer(model=make, log=log, accumulate=2, ema={"decay": 0.9}, precision="bf16")
    assert "warning: training: accumulate, precision, ema: for torch models" in fit.check(KEYS)
    fitted = [fit.fit(everything(), round=number) for number in range(2)]
    (told,) = [fields["message"] for kind, fields in log.events if kind == "warning"]
    assert told.startswith("training: accumulate, precision, ema: for torch models")
    assert same(fitted[0].weights, trainer(model=make).fit(everything(), round=0).weights)


@pytest.mark.parametrize("options", [{"devices": 2}, {"early_stopping": {"share": 0.2}}])
def test_check_refuses_what_an_estimator_cannot_do(options):
    with pytest.raises(TrainingError, match=rf"training\.{next(iter(options))}: needs a torch model"):
        trainer(model=GaussianNB, **options).check(KEYS)


def test_check_refuses_an_estimator_that_cannot_be_kept():
    with pytest.raises(TrainingError, match="RandomForestClassifier keeps estimator as"):
        trainer(model=lambda: RandomForestClassifier(n_estimators=2)).check(KEYS)
