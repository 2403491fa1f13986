"""Signals: by their formulas, equal to autograd sample by sample, and without a trace in the model."""

import numpy as np
import pytest
import torch
from torch import nn

from modyn import policy
from modyn.errors import TrainingError
from modyn.policy import Importable
from modyn.selectors.signals import Signal
from modyn.training.losses import Criterion
from modyn.training.options import Named
from modyn.training.signals import FUNCTIONS, LastLayer, Scorer, to_arrays
from modyn.types import Gradients

CPU = torch.device("cpu")


class Net(nn.Module):
    """Batch norm, dropout, and a linear layer that is defined before it is used last."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.last = nn.Linear(6, outputs)
        self.first = nn.Linear(5, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


def scored(names, *, loss: str = "cross-entropy", outputs: int = 4, labels=None, options=None, n: int = 12):
    torch.manual_seed(0)
    model, inputs = Net(outputs).train(), torch.randn(n, 5)
    labels = torch.arange(n) % outputs if labels is None else labels
    criterion = Criterion(Named(loss, options or {}))
    found = Scorer(model, criterion, names, device=CPU)(inputs, labels)
    return model, inputs, labels, criterion, found


def per_sample_gradients(model, inputs, labels, criterion) -> np.ndarray:
    """The last layer's weight and bias gradient, one sample at a time, by autograd."""
    model.eval()
    rows = []
    for row in range(len(inputs)):
        model.zero_grad()
        criterion.per_sample(model(inputs[row : row + 1]), labels[row : row + 1]).sum().backward()
        rows.append(torch.cat([model.last.weight.grad, model.last.bias.grad[:, None]], 1).flatten().numpy().copy())
    return np.stack(rows)


def written_out(gradients: Gradients) -> np.ndarray:
    ones = np.ones((len(gradients), 1), np.float32)
    return np.einsum("ic,ih->ich", gradients.errors, np.concatenate([gradients.embeddings, ones], 1)).reshape(
        len(gradients), -1
    )


@pytest.mark.parametrize(
    ("loss", "outputs", "labels", "options"),
    [
        ("cross-entropy", 4, None, None),
        ("cross-entropy", 4, None, {"label_smoothing": 0.1}),
        ("cross-entropy", 4, None, {"weight": [1.0, 2.0, 3.0, 4.0]}),
        ("cross-entropy", 4, torch.softmax(torch.arange(48.0).reshape(12, 4) % 5, 1), None),
        ("bce-with-logits", 1, torch.arange(12) % 2, None),
        ("bce-with-logits", 3, (torch.arange(36).reshape(12, 3) % 2).float(), None),
        ("mse", 1, torch.arange(12.0), None),
        ("huber", 2, torch.arange(24.0).reshape(12, 2), None),
    ],
    ids=["plain", "smoothed", "weighted", "soft labels", "one logit", "multi-label", "mse", "huber"],
)
def test_last_layer_gradients_equal_autograd_per_sample(loss, outputs, labels, options):
    model, inputs, labels, criterion, found = scored(
        ["gradient", "gradient-norm", "loss"], loss=loss, outputs=outputs, labels=labels, options=options
    )
    gradients = to_arrays([found])["gradient"]
    expected = per_sample_gradients(model, inputs, labels, criterion)
    assert np.allclose(written_out(gradients), expected, rtol=1e-4, atol=1e-6)
    assert np.allclose(found["gradient-norm"].numpy(), np.linalg.norm(gradients.errors, axis=1), rtol=1e-5)
    with torch.no_grad():
        assert torch.allclose(found["loss"], criterion.per_sample(model.eval()(inputs), labels))


def test_uncertainty_follows_its_formulas():
    model, inputs, labels, _, found = scored(["entropy", "margin", "least-confidence", "el2n", "embedding"])
    with torch.no_grad():
        p = model.eval()(inputs).softmax(1).double().numpy()
    ordered = np.sort(p, axis=1)
    assert np.allclose(found["entropy"], -(p * np.log(p)).sum(1), atol=1e-5)
    assert np.allclose(found["margin"], ordered[:, -1] - ordered[:, -2], atol=1e-6)
    assert np.allclose(found["least-confidence"], 1 - ordered[:, -1], atol=1e-6)
    assert np.allclose(found["el2n"], np.linalg.norm(p - np.eye(4)[labels.numpy()], axis=1), atol=1e-6)
    assert found["embedding"].shape == (12, 6)


def test_one_logit_and_several_labels_have_uncertainty_too():
    model, inputs, _, _, found = scored(
        ["margin", "entropy"], loss="bce-with-logits", outputs=1, labels=torch.arange(12) % 2
    )
    with torch.no_grad():
        p = model.eval()(inputs).sigmoid().double().numpy()[:, 0]
    assert np.allclose(found["margin"], np.abs(2 * p - 1), atol=1e-6)
    many = (torch.arange(36).reshape(12, 3) % 2).float()
    model, inputs, _, _, found = scored(
        ["margin", "least-confidence", "entropy"], loss="bce-with-logits", outputs=3, labels=many
    )
    with torch.no_grad():
        p = model.eval()(inputs).sigmoid().double().numpy()
    assert np.allclose(found["margin"], np.abs(2 * p - 1).min(1), atol=1e-6)
    assert np.allclose(found["least-confidence"], np.minimum(p, 1 - p).max(1), atol=1e-6)
    assert np.allclose(found["entropy"], -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum(1), atol=1e-5)


def test_a_regression_model_has_no_uncertainty():
    with pytest.raises(TrainingError, match="a regression model has none"):
        scored(["margin"], loss="mse", outputs=1, labels=torch.arange(12.0))


def test_scoring_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    model = Net().train()
    model.drop.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = Scorer(model, Criterion(Named("cross-entropy")), ["gradient", "embedding"], device=CPU)(
        torch.randn(8, 5), torch.arange(8) % 4
    )
    assert model.training
    assert model.norm.training
    assert not model.drop.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert not found["embedding"].requires_grad


def test_the_pass_stops_at_the_embedding_where_nothing_else_is_asked_for():
    model = Net().eval()
    calls = []
    model.last.register_forward_hook(lambda *_: calls.append("last"))
    scorer = Scorer(model, Criterion(Named("cross-entropy")), ["embedding"], device=CPU)
    inputs = torch.randn(8, 5)
    found = scorer(inputs, None)["embedding"]
    assert len(calls) == 1, "the first batch finds the layer"
    assert torch.equal(scorer(inputs, None)["embedding"], found)
    assert len(calls) == 1


def test_a_model_without_a_linear_layer_has_the_gradient_of_its_outputs_only():
    model = nn.Sequential(nn.Conv1d(1, 3, 5), nn.Flatten())
    criterion = Criterion(Named("cross-entropy"))
    inputs, labels = torch.randn(7, 1, 5), torch.arange(7) % 3
    gradients = to_arrays([Scorer(model, criterion, ["gradient"], device=CPU)(inputs, labels)])["gradient"]
    assert gradients.embeddings is None
    assert gradients.errors.shape == (7, 3)
    with pytest.raises(TrainingError, match="no embedding to select by"):
        Scorer(model, criterion, ["embedding"], device=CPU)(inputs, labels)


def test_a_layer_used_twice_or_on_sequences_is_no_last_layer():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.layer(x))

    assert LastLayer(Twice()).run(torch.randn(3, 4), stop=False)[1] is None
    assert LastLayer(nn.Linear(4, 2)).run(torch.randn(3, 5, 4), stop=False)[1] is None


def test_a_users_own_signal_is_a_function_of_the_outputs(tmp_path):
    (tmp_path / "scores.py").write_text(
        "def both(of):\n    return of.embedding[:, 0] + of.outputs[:, 1]\n\n\ndef mean(of):\n    return of.outputs.mean()\n"
        "def wrong(of):\n    raise ValueError('oh')\n"
    )
    model, inputs, _, _, found = scored([Importable("./scores.py:both", tmp_path)])
    with torch.no_grad():
        hidden = torch.relu(model.eval().norm(model.first(inputs)))
        assert torch.allclose(found["./scores.py:both"], hidden[:, 0] + model.last(hidden)[:, 1])
    with pytest.raises(
        TrainingError, match=r"signal ./scores.py:mean gave shape \[\] for 12 samples; \[n\] or \[n, d\] is needed"
    ):
        scored([Importable("./scores.py:mean", tmp_path)])
    with pytest.raises(
        TrainingError, match=r"^signal ./scores.py:wrong raised ValueError: oh \(scores.py, line \d+: raise"
    ):
        scored([Importable("./scores.py:wrong", tmp_path)])


def test_bf16_scores_are_near_and_given_in_float32():
    torch.manual_seed(0)
    model, inputs, labels = Net(), torch.randn(64, 5), torch.arange(64) % 4
    criterion = Criterion(Named("cross-entropy"))
    exact = Scorer(model, criterion, ["loss"], device=CPU)(inputs, labels)["loss"]
    rough = Scorer(model, criterion, ["loss"], device=CPU, precision="bf16")(inputs, labels)["loss"]
    assert rough.dtype == torch.float32
    assert torch.allclose(exact, rough, atol=0.05)
    assert not torch.equal(exact, rough)


def test_every_signal_that_takes_a_pass_can_be_computed():
    declared = {name for name, cls in policy.policies(Signal).items() if cls().needs_pass}
    assert declared == set(FUNCTIONS)


def test_without_labels_only_signals_that_need_none_work():
    model, criterion = Net(), Criterion(Named("cross-entropy"))
    for name, cls in policy.policies(Signal).items():
        signal = cls()
        if not signal.needs_pass:
            continue
        scorer = Scorer(model, criterion, [name], device=CPU)
        if "labels" in signal.reads:
            with pytest.raises(TrainingError, match="the dataset has no labels"):
                scorer(torch.randn(4, 5), None)
        else:
            assert scorer(torch.randn(4, 5), None)[name] is not None
