"""The reference networks: shapes, options, and that a custom model is built with clear errors."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from modyn.errors import ConfigError
from modyn.models.nets import Net
from modyn.models.spec import ModelSpec
from modyn.policy import policies
from modyn.training.memory_reader import MemoryReader
from modyn.training.options import Training
from modyn.training.parsing import Parser
from modyn.training.trainer import Trainer
from modyn.types import Selection

IMAGES = torch.zeros(3, 1, 28, 28)


def build(document):
    return ModelSpec.parse(document).build()


@pytest.mark.parametrize(
    ("document", "inputs", "outputs"),
    [
        ({"linear": {"inputs": 4, "outputs": 3}}, (torch.zeros(3, 4),), 3),
        (
            {"mlp": {"inputs": 4, "outputs": 3, "hidden": [5, 6], "dropout": 0.1, "batch_norm": True}},
            (torch.zeros(3, 4),),
            3,
        ),
        ({"mlp": {"inputs": 4, "outputs": 1, "hidden": []}}, (torch.zeros(3, 4),), 1),
        ({"small-cnn": {"outputs": 10}}, (IMAGES,), 10),
        ({"small-cnn": {"outputs": 10, "channels": 3, "size": 9}}, (torch.zeros(3, 3, 9, 9),), 10),
        ("yearbooknet", (torch.zeros(3, 1, 32, 32),), 2),
        (
            {"dlrm": {"numbers": 13, "tables": [5, 7], "outputs": 1}},
            (torch.zeros(3, 13), torch.tensor([[99, -1]] * 3)),
            1,
        ),
    ],
)
def test_each_network_gives_one_row_a_sample(document, inputs, outputs):
    model = build(document)
    given = model(*inputs)
    assert given.shape == (3, outputs)
    given.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("size", [9, 28])
def test_small_cnn_without_a_gradient_gives_the_same_bits_as_max_pooling_after_the_relu(size):
    model = build({"small-cnn": {"outputs": 10, "size": size, "channels": 2}}).eval()
    convs = [m for m in model if isinstance(m, torch.nn.Conv2d)]
    x = torch.randn(5, 2, size, size).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        found, h = model(x), x
        for conv in convs:
            h = torch.nn.functional.max_pool2d(torch.relu(conv(h)), 2)
        expected = model[-1](torch.relu(model[7](h.flatten(1))))
    assert torch.equal(found, expected)
    assert torch.equal(found, model(x).detach())


def test_dlrm_interacts_by_dot_products():
    model = build({"dlrm": {"numbers": 2, "tables": [4, 4], "width": 3, "bottom": [], "top": [], "outputs": 1}})
    dense, categories = torch.randn(1, 2), torch.tensor([[1, 2]])
    low = torch.relu(model.bottom[0](dense))[0]
    first, second = model.embeddings.weight[1], model.embeddings.weight[4 + 2]
    expected = model.top[0](torch.cat([low, torch.stack([first @ low, second @ low, second @ first])]))
    torch.testing.assert_close(model(dense, categories)[0], expected)


@pytest.mark.parametrize("sparse", [False, True])
def test_dlrm_learns_from_its_categories(sparse):
    rng = np.random.default_rng(0)
    categories = rng.integers(0, 50, (600, 2)).astype(np.int32)
    labels = (categories[:, 0] % 2).astype(np.int64)
    columns = {"dense": rng.normal(size=(600, 3)).astype(np.float32), "categories": categories}
    look = {"hooks": [{f"{__name__}:number": {"every": 5}}]}  # gradients may be sparse
    trainer = Trainer(
        Training.model_validate({"epochs": 20, "batch_size": 32, "optimizer": {"sgd": {"lr": 0.3}}, **look}),
        model=ModelSpec.parse({"dlrm": {"numbers": 3, "tables": [50, 50], "sparse": sparse}}).build,
        parser=Parser(lambda c: (c["dense"], c["categories"])),
        reader=MemoryReader(columns, labels=labels),
        seed=0,
    )
    fitted = trainer.fit(Selection(np.arange(600)), round=0)
    assert (trainer.predict(fitted.weights, np.arange(600)).argmax(1) == labels).mean() > 0.95


def test_torchvision_networks_come_by_name():
    pytest.importorskip("torchvision")
    model = build({"torchvision": {"name": "resnet18", "outputs": 5}})
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(ConfigError, match=r"torchvision has no network named 'resnet19'. Did you mean 'resnet18'"):
        build({"torchvision": {"name": "resnet19", "outputs": 5}})
    with pytest.raises(ConfigError, match="depth"):
        build({"torchvision": {"name": "resnet18", "outputs": 5, "options": {"depth": 3}}})


def test_a_pretrained_network_gets_a_last_layer_of_its_own():
    from modyn.models.nets.torchvision import _with_last_layer

    torchvision = pytest.importorskip("torchvision")
    for name in ("resnet18", "densenet121", "mobilenet_v3_small"):
        model = _with_last_layer(torchvision.models.get_model(name), 7).eval()
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.slow
def test_distilbert_learns_from_tokens(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "day": 4}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(tmp_path)
    texts = np.array(["good day", "bad day"] * 32, dtype=object)
    from modyn.training.parsing import ParserSpec

    spec = ParserSpec.model_validate(
        {
            "per_batch": "modyn.training.text:tokens",
            "options": {"tokenizer": str(tmp_path), "column": "text", "max_length": 4},
        }
    )
    sizes = {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2, "vocab_size": 5, "max_position_embeddings": 8}
    trainer = Trainer(
        Training(epochs=20, batch_size=16, optimizer={"adam": {"lr": 0.01}}),
        model=ModelSpec.parse({"distilbert": {"outputs": 2, "options": sizes}}).build,
        parser=spec.build(),
        reader=MemoryReader({"text": texts}, labels=np.array([0, 1] * 32)),
        seed=0,
    )
    fitted = trainer.fit(Selection(np.arange(64)), round=0)
    assert (trainer.predict(fitted.weights, np.arange(64)).argmax(1) == [0, 1] * 32).all()


class Own(nn.Module):
    def __init__(self, width, depth=1):
        super().__init__()
        self.layer = nn.Linear(width, depth)

    def forward(self, x):
        return self.layer(x)


def number(value=1):
    return value


def test_a_model_of_ones_own_is_named_by_module_or_file(tmp_path):
    assert build({f"{__name__}:Own": {"width": 3}}).layer.in_features == 3
    (tmp_path / "net.py").write_text("from torch import nn\n\n\ndef make(n):\n    return nn.Linear(n, 2)\n")
    spec = ModelSpec.parse({"./net.py:make": {"n": 4}}, tmp_path)
    assert spec.build().in_features == 4
    assert spec.to_document() == {"./net.py:make": {"n": 4}}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({f"{__name__}:Own": {"widht": 3}}, r"Own.widht: no option is named 'widht' here. Did you mean 'width'"),
        (f"{__name__}:Own", r"Own.width: is required but missing"),
        ({f"{__name__}:Own": {"width": -3}}, "building it failed: RuntimeError"),
        (f"{__name__}:number", "gave a int; a torch.nn.Module or a scikit-learn style estimator is needed"),
        (f"{__name__}:IMAGES", "neither a class nor a function"),
    ],
)
def test_a_model_that_cannot_be_built_is_told(document, told):
    with pytest.raises(ConfigError, match=told):
        build(document)


def test_a_misspelt_network_is_told_with_the_nearest():
    with pytest.raises(ValueError, match=r"no model is named 'mpl'. Did you mean 'mlp'\?.*A model of your own"):
        ModelSpec.parse("mpl")


def test_networks_are_listed_without_loading_torch():
    assert {"dlrm", "linear", "mlp", "small-cnn", "yearbooknet", "torchvision", "distilbert"} <= set(policies(Net))
    code = (
        "import sys; from modyn.policy import policies; from modyn.models.nets import Net; policies(Net); "
        "import modyn.training.options, modyn.training.parsing, modyn.models.spec; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_network_that_does_not_fit_into_memory_is_told():
    with pytest.raises(ConfigError, match=r"^model.mlp: does not fit into memory: .*allocate"):
        build({"mlp": {"inputs": 8, "outputs": 2, "hidden": [10**7, 10**7]}})
