import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from modyn import policy
from modyn.errors import ConfigError, EvaluationError
from modyn.evaluation import baselines, composite
from modyn.evaluation.evaluator import Evaluator
from modyn.evaluation.metrics import Metric, Undefined
from modyn.evaluation.options import Evaluation
from modyn.types import Samples, Window


def samples(n: int = 40, classes: int = 2, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(np.arange(n) * 2, np.arange(n) * 10, rng.integers(0, classes, n))


def evaluation(windows: object, *metrics: object) -> Evaluation:
    return Evaluation.model_validate({"windows": windows, "metrics": list(metrics) or ["accuracy"]})


def test_each_sample_is_predicted_once_however_many_windows_overlap() -> None:
    asked: list[int] = []

    def predict(keys: np.ndarray) -> np.ndarray:
        asked.extend(keys.tolist())
        return np.tile([0.4, 0.6], (len(keys), 1))

    sliding = {"sliding": {"every": "10us", "interval": ["-100us", "+100us"]}}
    scores, predicted = Evaluator(evaluation(sliding), samples()).score(predict)
    assert sorted(asked) == [2 * i for i in range(40)]
    assert predicted == 40
    assert len(scores) == 40


def test_scores_are_those_of_the_windows_own_samples_even_out_of_time_order() -> None:
    ordered = samples()
    shuffled = ordered[np.random.default_rng(1).permutation(40)]
    outputs = np.random.default_rng(2).random((80, 2))
    scores, _ = Evaluator(evaluation({"slices": {"every": "100us"}}), shuffled).score(lambda keys: outputs[keys])
    for score in scores:
        rows = slice(score.window * 10, score.window * 10 + 10)
        expected = np.mean(outputs[ordered.keys[rows]].argmax(1) == ordered.labels[rows])
        assert score.value == pytest.approx(expected)


def test_metrics_that_no_output_suits_together_are_named() -> None:
    mixed = evaluation({"slices": {"every": "100us"}}, "rmse", "roc-auc")
    assert Evaluator(mixed, samples(classes=2)).num_classes() is None
    with pytest.raises(EvaluationError, match="roc-auc needs an output for each of the 3 classes, rmse one value"):
        Evaluator(mixed, samples(classes=3)).num_classes()


def test_an_empty_window_and_a_single_class_are_undefined_and_say_why() -> None:
    given_ = Samples(np.arange(4), np.array([0, 1, 30, 31]), np.array([1, 1, 0, 1]))
    evaluator = Evaluator(evaluation({"slices": {"every": "10us"}}, "roc-auc", "accuracy"), given_)
    scores, _ = evaluator.score(lambda keys: np.tile([0.2, 0.8], (len(keys), 1)))
    by = {(s.window, s.metric): (s.value, s.reason) for s in scores}
    assert by[0, "roc-auc"] == (None, "all labels are 1")
    assert by[0, "accuracy"] == (1.0, None)
    assert by[1, "accuracy"] == (None, "no samples")
    assert by[3, "roc-auc"] == (0.5, None)


def test_two_metrics_of_one_name_are_told_apart_and_twins_are_refused() -> None:
    given_ = evaluation({"slices": {"every": "1s"}}, {"f1": {"average": "macro"}}, {"f1": {"average": "binary"}})
    assert set(Evaluator(given_, samples()).metrics) == {"f1(average=macro)", "f1(average=binary)"}
    with pytest.raises(EvaluationError, match="named twice"):
        Evaluator(evaluation({"slices": {"every": "1s"}}, "f1", "f1"), samples())


def test_a_dataset_without_labels_cannot_be_scored() -> None:
    with pytest.raises(EvaluationError, match="has no labels"):
        Evaluator(evaluation({"slices": {"every": "1s"}}), Samples(np.arange(3), np.arange(3)))


@given(starts=st.lists(st.integers(0, 100), min_size=1), until=st.lists(st.integers(0, 100), min_size=1, unique=True))
def test_the_active_checkpoint_is_the_newest_trained_only_on_data_before_the_window(
    starts: list[int], until: list[int]
) -> None:
    ends = np.sort(until)
    active = composite.active(np.array(starts), ends)
    trained = composite.trained(np.array(starts), ends)
    for start, a, t in zip(starts, active, trained, strict=True):
        early = [c for c, end in enumerate(ends) if end <= start]
        assert a == (early[-1] if early else -1)
        assert t == min(a + 1, len(ends) - 1)


def test_baselines_see_only_labels_from_before() -> None:
    given_ = Samples(np.arange(6), np.arange(6) * 10, np.array([1, 1, 0, 1, 0, 0]))
    window = Window(30, 60, by="time")
    np.testing.assert_allclose(baselines.majority_class(given_, window, 2), np.tile([1 / 3, 2 / 3], (3, 1)))
    np.testing.assert_array_equal(baselines.no_change(given_, window, 2).argmax(1), [0, 1, 0])
    assert baselines.majority_class(given_, Window(0, 30, by="time"), 2) is None
    np.testing.assert_allclose(baselines.mean_label(given_, window), [2 / 3] * 3)


def test_no_change_has_no_log_loss_and_the_majority_class_has_that_of_its_shares() -> None:
    evaluator = Evaluator(evaluation({"slices": {"every": "200us"}}, "log-loss", "roc-auc"), samples())
    by = {(name, s.window, s.metric): s for name, scores in evaluator.baselines(2) for s in scores}
    assert by["no-change", 1, "log-loss"].reason == "a repeated label is no probability"
    assert by["majority-class", 1, "roc-auc"].value == 0.5
    assert by["majority-class", 0, "roc-auc"].reason == "no sample comes before this window"


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", [n for n, c in policy.policies(Metric).items() if c.needs != "values"])
def test_class_metrics_agree_with_scikit_learn(name: str, classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 300)
    outputs = rng.dirichlet(np.ones(classes), 300).astype(np.float32)
    oracle = {
        "accuracy": lambda: sk.accuracy_score(labels, outputs.argmax(1)),
        "f1": lambda: sk.f1_score(labels, outputs.argmax(1), average="macro", zero_division=0),
        "roc-auc": lambda: sk.roc_auc_score(
            labels, outputs[:, 1] if classes == 2 else outputs / outputs.sum(1)[:, None], multi_class="ovr"
        ),
        "average-precision": lambda: sk.average_precision_score(labels, outputs[:, 1] if classes == 2 else outputs),
        "log-loss": lambda: -np.log(outputs[np.arange(300), labels]).mean(),
    }
    value = policy.build(Metric, name).score(labels, outputs)
    if name in oracle:
        assert value == pytest.approx(oracle[name](), abs=1e-5)
    else:
        assert 0 <= value <= 1


def test_top_n_accuracy_counts_the_highest_n() -> None:
    labels, outputs = np.array([2, 0, 1]), np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    assert [policy.build(Metric, {"accuracy": {"top": n}}).score(labels, outputs) for n in (1, 2, 3)] == pytest.approx(
        [1 / 3, 2 / 3, 1]
    )


@pytest.mark.parametrize("name", ["mae", "rmse", "r2"])
def test_value_metrics_accept_columns_and_refuse_nothing(name: str) -> None:
    labels = np.arange(6.0)
    score = policy.build(Metric, name).score(labels, labels[:, None] + 1)
    assert score == pytest.approx({"mae": 1.0, "rmse": 1.0, "r2": 1 - 6 / 17.5}[name])


def test_labels_that_do_not_fit_the_outputs_are_told() -> None:
    accuracy = policy.build(Metric, "accuracy")
    with pytest.raises(EvaluationError, match="label 3 has no output: the model gives 2 classes"):
        accuracy.score(np.array([0, 3]), np.ones((2, 2)))
    with pytest.raises(EvaluationError, match="whole-number class labels"):
        accuracy.score(np.array([0.5]), np.ones((1, 2)))
    with pytest.raises(Undefined):
        policy.build(Metric, "roc-auc").score(np.array([1, 1]), np.ones((2, 2)))


@pytest.mark.parametrize("present", [[1], [0, 3, 7]])
def test_f1_leaves_out_classes_that_are_neither_present_nor_predicted(present: list[int]) -> None:
    labels = np.array(present * 5)
    assert policy.build(Metric, "f1").score(labels, np.eye(10)[labels]) == 1.0


def test_more_windows_than_anybody_can_look_at_are_refused() -> None:
    with pytest.raises(ConfigError, match="every 1us makes 1,000,000 windows over 1s; at most 100,000 are allowed"):
        evaluation({"slices": {"every": "1us"}}).windows.lay_out(0, 10**6 - 1)


def test_zoned_and_plain_times_can_stand_side_by_side() -> None:
    given_ = evaluation(
        {"static": {"intervals": [["2013-02-01T00:00:00Z", "2013-03-01"], ["2013-01-01", "2013-02-01"]]}}
    )
    assert [w.start < w.end for w in given_.windows.lay_out(0, 1)] == [True, True]


def test_a_check_finds_the_label_that_no_output_stands_for() -> None:
    given_ = Samples(np.arange(5) + 10, np.arange(5), np.array([0, 1, 0, 2, 1]))
    evaluator = Evaluator(evaluation({"slices": {"every": "1s"}}), given_)
    with pytest.raises(EvaluationError, match="sample 13 has label 2, and the model gives 2 classes only"):
        evaluator.check(given_.keys, np.ones((5, 2)))
    with pytest.raises(EvaluationError, match="outputs of 1 of 5 samples are not finite"):
        evaluator.check(given_.keys, np.where(np.arange(5)[:, None] == 2, np.nan, np.ones((5, 3))))
