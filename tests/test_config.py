from pathlib import Path

import pytest
from pydantic import Field

from modyn import config
from modyn.errors import ConfigError
from modyn.policy import Options
from modyn.selectors import Selector
from modyn.triggers import Trigger

DAY = 86_400 * 10**6


class Tiny(Options):
    trigger: Trigger
    selector: Selector
    epochs: int = Field(1, ge=1)


def refused(text: str, cls: type[Options] = Tiny) -> str:
    with pytest.raises(ConfigError) as caught:
        config.build(cls, config.parse(text, Path("x.yaml")))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("30s", 30 * 10**6),
        ("5m", 300 * 10**6),
        ("2h", 7200 * 10**6),
        ("7d", 7 * DAY),
        ("1w", 7 * DAY),
        ("1y", 365 * DAY),
    ],
)
def test_durations_are_read_and_spelt_back(text: str, microseconds: int) -> None:
    assert config.parse_duration(text) == microseconds
    assert config.parse_duration(config.format_duration(microseconds)) == microseconds


@pytest.mark.parametrize("text", ["", "7", "d", "-3d", "7 days", "7d,", None, True])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as"):
        config.parse_duration(text)


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert config.parse("a: 1e-3\nb: 2E5\nc: 1.5e+3\nd: 1e3x").data == {"a": 1e-3, "b": 2e5, "c": 1500.0, "d": "1e3x"}


def test_every_problem_is_told_with_file_line_and_path() -> None:
    text = "trigger: {evry: {samples: 3}}\nselector:\n  all: {budgt: 3}\nepochs: 0\n"
    assert refused(text).splitlines() == [
        "x.yaml:1: trigger.evry: no trigger is named 'evry'. Did you mean 'every'?",
        "x.yaml:3: selector.all.budgt: no option is named 'budgt' here. Did you mean 'budget'?",
        "x.yaml:4: epochs: input should be greater than or equal to 1; got 0",
    ]


def test_a_missing_option_is_told_where_its_parent_stands() -> None:
    assert refused("trigger: never\n") == "x.yaml:1: selector: is required but missing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: must hold a mapping of options; got an empty file"),
        ("- 1\n- 2", "x.yaml: must hold a mapping of options; got [1, 2]"),
        ("a: [1", "x.yaml:1: not valid YAML:"),
        ("a: 1\na: 2", "x.yaml:2: a: is written twice"),
        ("a: !!python/object:os.system {}", "x.yaml:1: not valid YAML:"),
    ],
)
def test_a_broken_file_is_one_clear_line(text: str, message: str) -> None:
    assert refused(text).startswith(message)
    assert len(refused(text).splitlines()) == 1


def test_a_folder_or_another_kind_of_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "flights.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match=r"^/.* is a folder, not a file; in it: flights\.yaml$"):
        config.load(tmp_path)
    with pytest.raises(
        ConfigError, match=r"flights\.yaml cannot be read: it is not UTF-8 \(invalid start byte at byte 6\)$"
    ):
        config.load(tmp_path / "flights.yaml")


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "flights.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match=r"there is no file .*flight\.yaml\. In .*: flights\.yaml\."):
        config.load(tmp_path / "flight.yaml")


def test_settings_override_and_make_what_is_missing() -> None:
    document = config.parse("trigger: never\ntraining: {epochs: 1}")
    data = config.override(document, ["training.epochs=3", "trigger.every.samples=10", "a.b=[1, 2]"]).data
    assert data == {"trigger": {"every": {"samples": 10}}, "training": {"epochs": 3}, "a": {"b": [1, 2]}}
    assert document.data["training"] == {"epochs": 1}


def test_a_setting_reaches_into_a_policy_named_without_options() -> None:
    data = config.override(config.parse("selector: all"), ["selector.all.budget=10"]).data
    assert data == {"selector": {"all": {"budget": 10}}}


@pytest.mark.parametrize("setting", ["training", "=3", "seed.x=1", "a=[1"])
def test_a_setting_that_cannot_be_applied_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        config.override(config.parse("seed: 1"), [setting])


@pytest.mark.parametrize("budget", ["0%", "101%", "-5", "0", "1.5", "yes", "'ten'", "-0.1"])
def test_a_budget_outside_its_bounds_is_refused(budget: str) -> None:
    assert "selector.all.budget" in refused(f"trigger: never\nselector: {{all: {{budget: {budget}}}}}")


def test_a_resolved_document_builds_the_same_options() -> None:
    text = (
        "trigger: {every: {interval: 30d, start: 2013-01-01}}\nselector: {newest: {budget: 25%, history: {time: 7d}}}"
    )
    built = config.build(Tiny, config.parse(text))
    again = config.build(Tiny, config.parse(config.dump(built.model_dump(mode="json"))))
    assert again.model_dump(mode="json") == built.model_dump(mode="json")


def test_settings_may_be_one_text_or_a_mapping() -> None:
    document = config.parse("training: {epochs: 1}")
    assert config.override(document, "training.epochs=3").data == {"training": {"epochs": 3}}
    given = {"training.epochs": 3, "trigger": {"every": {"samples": 5}}, "name": "1e3"}
    data = config.override(document, given).data
    assert data == {"training": {"epochs": 3}, "trigger": {"every": {"samples": 5}}, "name": "1e3"}
    with pytest.raises(ConfigError, match=r"^settings: must be \[path\.to\.option=value\] or .*; got 3$"):
        config.override(document, 3)  # type: ignore[arg-type]
