from collections.abc import Callable
from pathlib import Path

import pytest

from modyn import policy
from modyn.errors import ConfigError, NotFound
from modyn.evaluation.windows import EvaluationWindows
from modyn.policy import Importable
from modyn.training.options import Training
from modyn.triggers import Trigger
from modyn.triggers.every import Every

OWN = """
from modyn.triggers import Trigger
from pydantic import Field

class Mine(Trigger):
    '''Fires on demand.'''
    share: float = Field(0.5, gt=0, le=1, description="a share")
    def update(self, batch):
        yield from ()

NOT_ONE = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path


def test_a_policy_is_found_in_a_file_beside_the_pipeline(own: Path) -> None:
    built = policy.build(Trigger, {"./mine.py:Mine": {"share": 0.25}}, base_dir=own)
    assert type(built).__name__ == "Mine"
    assert policy.to_document(built) == {"./mine.py:Mine": {"share": 0.25}}


def test_an_option_out_of_bounds_is_refused(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"share: input should be greater than 0; got -0\.1"):
        policy.build(Trigger, {"./mine.py:Mine": {"share": -0.1}}, base_dir=own)


def test_what_is_not_a_policy_is_refused(own: Path) -> None:
    with pytest.raises(ConfigError, match="is not a trigger: it must be a subclass of modyn's Trigger"):
        policy.build(Trigger, "./mine.py:NOT_ONE", base_dir=own)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./mine.py:Mne", "has nothing named 'Mne'. Did you mean 'Mine'?"),
        ("./yours.py:Mine", "there is no file"),
        ("no_such_module:Mine", "importing 'no_such_module' failed: ModuleNotFoundError"),
        ("mine.py", "is neither 'package.module:name' nor './file.py:name'"),
    ],
)
def test_an_import_that_fails_says_why(own: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Importable(name, own).load()
    assert message in str(caught.value)


def test_a_file_that_raises_at_import_is_told_and_not_kept(own: Path) -> None:
    (own / "broken.py").write_text("1 / 0")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"importing '\./broken\.py' failed: ZeroDivisionError: division by zero"):
            Importable("./broken.py:x", own).load()


def test_a_changed_file_is_imported_again(own: Path) -> None:
    (own / "number.py").write_text("x = 1")
    assert Importable("./number.py:x", own).load() == 1
    (own / "number.py").write_text("x = 234")
    assert Importable("./number.py:x", own).load() == 234


@pytest.mark.parametrize("document", [None, 3, [], {}, {"every": 3}, {"every": {}, "once": {}}, {3: {}}])
def test_what_is_not_written_as_a_policy_is_refused(document: object) -> None:
    with pytest.raises(ConfigError, match=r"a trigger is written as its name, or as \{name: \{option: value\}\}"):
        policy.build(Trigger, document)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Every(samples=-1), "trigger.every.samples: input should be greater than 0; got -1"),
        (
            lambda: Every(sampels=1, samples=2),
            "trigger.every.sampels: no option is named 'sampels' here. Did you mean 'samples'?",
        ),
        (lambda: Every(), "trigger.every: needs exactly one of samples and interval"),
        (lambda: Training(clip={"norm": 0}), "clip.norm: input should be greater than 0; got 0"),
        (lambda: Training(epochs=True), "epochs: must be a number; got true"),
    ],
)
def test_a_policy_made_in_python_is_refused_in_the_words_of_a_pipeline_file(
    make: Callable[[], object], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == told


def test_all_problems_of_a_policy_made_in_python_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        Every(samples=0, interval="soon")
    assert [problem.path for problem in caught.value.problems] == ["trigger.every.samples", "trigger.every.interval"]


def test_the_role_whose_name_is_a_plural_is_told_as_one() -> None:
    with pytest.raises(
        ConfigError, match=r"windows are written as their name, or as \{name: \{option: value\}\}; got 3"
    ):
        policy.build(EvaluationWindows, 3)
    with pytest.raises(ConfigError, match="no windows are named 'slice'"):
        policy.build(EvaluationWindows, "slice")


def test_an_instance_stands_for_itself() -> None:
    trigger = Every(samples=3)
    assert policy.build(Trigger, trigger) is trigger


def test_options_cannot_change_after_building() -> None:
    with pytest.raises(Exception, match="frozen"):
        Every(samples=3).samples = 4


def test_an_entry_point_adds_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugged.py").write_text(OWN)
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[modyn.triggers]\non-demand = plugged:Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "on-demand" in policy.policies(Trigger)
    assert isinstance(policy.build(Trigger, "on-demand"), Trigger)
    with pytest.raises(NotFound, match="Did you mean 'on-demand'"):
        policy.find(Trigger, "on-demnd")


def test_the_json_schema_accepts_what_is_right_and_refuses_what_is_wrong() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from modyn.pipeline import Pipeline

    schema = Pipeline.file_schema()
    checker = jsonschema.Draft202012Validator(schema)
    checker.check_schema(schema)
    right = {"name": "x", "dataset": "d", "parser": "./f.py:g", "model": "linear", "trigger": {"every": {"samples": 3}}}
    assert checker.is_valid(right)
    for wrong in ({"trigger": {"evry": {}}}, {"trigger": {"every": {"samples": -3}}}, {"nme": 1}):
        assert not checker.is_valid(right | wrong)


def test_explaining_a_policy_lists_its_options() -> None:
    docs = policy.option_docs(Every)
    assert [d.name for d in docs] == ["samples", "interval", "start"]
    assert all(d.default == "null" for d in docs)
    assert policy.summary_of(Every).startswith("Fires each")
    assert policy.example_of(Every).startswith(">>> import numpy")
    assert ">>>" not in policy.prose_of(Every)


def test_what_an_option_takes_is_told_in_the_words_of_a_document() -> None:
    from modyn.triggers.any_of import AnyOf
    from modyn.triggers.stream_detector import StreamDetector

    types = {doc.name: doc.type for cls in (AnyOf, StreamDetector) for doc in policy.option_docs(cls)}
    assert (types["triggers"], types["parameters"]) == ("list of triggers", "mapping")


def test_a_default_is_shown_as_a_pipeline_file_would_write_it() -> None:
    from modyn.selectors.uniform import Uniform
    from modyn.triggers.performance import Performance

    defaults = {doc.name: doc.default for cls in (Uniform, Performance) for doc in policy.option_docs(cls)}
    assert (defaults["history"], defaults["budget"]) == ("'all'", "null")
    assert defaults["check_every"] == "{samples: 1000}"
