"""A classifier that tries to tell both windows apart."""

from typing import Literal

import numpy as np
from pydantic import Field

from modyn.drift import Distance, DriftMetric, complete
from modyn.types import Array, Float64s


class Classifier(DriftMetric):
    """The ROC AUC, by cross-validation, of a classifier that tells the current window from the reference: 0.5 = alike, 1 = separate.

    Lopez-Paz and Oquab 2017, "Revisiting Classifier Two-Sample Tests". The p-value is twice the median of the folds'
    rank-sum tests. Windows with fewer rows than folds have no distance.

    >>> import numpy as np
    >>> Classifier().distance(np.arange(20.0), np.arange(20.0) + 100).value
    1.0
    """

    model: Literal["logistic-regression", "gradient-boosting"] = Field(
        "logistic-regression", description="a linear model on standardised columns, or boosted trees"
    )
    folds: int = Field(5, ge=2, description="folds of the cross-validation")

    def measure(self, reference: Array, current: Array, *, seed: int) -> Distance:
        from sklearn.model_selection import StratifiedKFold

        if min(len(reference), len(current)) < self.folds:
            return Distance(float("nan"))
        reference, current = complete(reference, current)
        rows = np.concatenate([reference, current])
        is_current = np.repeat([0, 1], [len(reference), len(current)])
        splits = StratifiedKFold(self.folds, shuffle=True, random_state=seed).split(rows, is_current)
        scores = [self._scores(rows[fit], is_current[fit], rows[test], seed) for fit, test in splits]
        splits = StratifiedKFold(self.folds, shuffle=True, random_state=seed).split(rows, is_current)
        truths = [is_current[test] for _, test in splits]
        return auc_of_folds(truths, scores)

    def _scores(self, rows: Array, labels: Array, test: Array, seed: int) -> Float64s:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if self.model == "gradient-boosting":
            return np.asarray(
                HistGradientBoostingClassifier(random_state=seed, max_iter=50)
                .fit(rows, labels)
                .predict_proba(test)[:, 1]
            )
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, class_weight="balanced"))
        return np.asarray(linear.fit(rows, labels).decision_function(test))


def auc_of_folds(truths: list[Array], scores: list[Float64s]) -> Distance:
    """The mean AUC of folds ``truths[n]`` (0 or 1) and ``scores[n]``, and twice the median of their p-values, at most 1.

    The folds share training rows, so their tests depend on each other; twice the median is valid all the same (Rüger 1978).
    """
    found = [rank_sum_test(truth, score) for truth, score in zip(truths, scores, strict=True)]
    p_value = float(np.median([fold.p_value for fold in found])) * min(len(found), 2)
    return Distance(float(np.mean([fold.value for fold in found])), min(p_value, 1.0))


def rank_sum_test(truth: Array, score: Float64s) -> Distance:
    """The ROC AUC with its one-sided p-value in the normal limit, ties corrected (Mann and Whitney 1947)."""
    from scipy.stats import norm, rankdata

    ones, total = int(truth.sum()), len(truth)
    zeros = total - ones
    auc = (rankdata(score)[truth == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    _, counts = np.unique(score, return_counts=True)
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / (total * (total - 1))
    error = np.sqrt((total + 1 - ties) / (12 * ones * zeros))
    return Distance(float(auc), float(norm.sf((auc - 0.5) / error)) if error > 1e-9 else 1.0)
