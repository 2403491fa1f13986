"""Errors in options: where, what was got, what is allowed, in one line each."""

import pytest

from modyn import config
from modyn.errors import ConfigError
from modyn.pipeline import Pipeline

TEXT = """\
name: x
dataset: d
parser: ./f.py:g
model: {mlp: {inputs: 3, outputs: 2}}
trigger: {every: {interval: 30d}}
training: {}
"""


def refused(*settings: str, text: str = TEXT) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Pipeline.of(config.override(config.parse(text), settings))
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("training.epochs=-1", "training.epochs: must be integer > 0 or list of integer > 0; got -1"),
        ("training.epochs=[1, -2]", "training.epochs.1: input should be greater than 0; got -2"),
        ("training.shuffle=nope", "training.shuffle: must be boolean or {window}; got 'nope'"),
        ("training.shuffle={window: 0}", "training.shuffle.window: input should be greater than 0; got 0"),
        ("training.epochs=true", "training.epochs: must be a number; got true"),
        (
            "trigger.every.interval=30",
            "trigger.every.interval: must be a duration such as 30s, 5m, 2h, 7d, 1w or 1y; got 30",
        ),
        ("trigger.every.interval=1001y", "trigger.every.interval: must be at most 1000y; got '1001y'"),
        (
            "trigger={drift: {metrics: [ks]}}",
            "trigger.drift.metrics: must be a mapping, of names to values; got ['ks']",
        ),
        ("trigger={any-of: {triggers: []}}", "trigger.any-of.triggers: needs at least 1 item; got []"),
        ("evaluation={windows: {slices: {every: 1d}}, metrics: 3}", "evaluation.metrics: must be a list; got 3"),
        ("trigger={any-of: {triggers: manual}}", "trigger.any-of.triggers: must be a list; got 'manual'"),
        (
            "seed=99999999999999999999999",
            "seed: input should be less than or equal to 9223372036854775807; got 99999999999999999999999",
        ),
    ],
)
def test_a_setting_that_is_wrong_is_one_line_that_names_it(setting: str, problem: str) -> None:
    assert refused(setting) == [f"--set {setting}: {problem}"]


def test_a_misspelt_option_within_one_of_several_types_names_the_nearest_of_that_type() -> None:
    problems = refused("training.shuffle={windw: 3}")
    assert (
        "--set training.shuffle={windw: 3}: training.shuffle.windw: no option is named 'windw' here. Did you mean 'window'?"
        in problems
    )


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "[" * 1200,
        "a: \0",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "\n".join(f"{c}: &{c} [{', '.join(['*' + p] * 10)}]" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
    ],
    ids=["cycle", "depth", "nul", "bomb"],
)
def test_yaml_that_would_blow_up_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_pipeline_made_in_python_tells_its_problems_as_a_file_does() -> None:
    with pytest.raises(ConfigError) as caught:
        Pipeline(name="x", dataset="d", parser="./f.py:g", model="linear", trigger={"evry": {}}, sed=1)
    assert str(caught.value).splitlines() == [
        "model.linear.inputs: is required but missing",
        "model.linear.outputs: is required but missing",
        "trigger.evry: no trigger is named 'evry'. Did you mean 'every'?",
        "sed: no option is named 'sed' here. Did you mean 'seed'?",
    ]


def test_a_number_where_options_are_meant_is_told_which_options_there_are() -> None:
    with pytest.raises(ConfigError, match=r"training\.ema: must be \{decay\} or null; got 0\.99$"):
        Pipeline.of(config.override(config.parse(TEXT), ["training.ema=0.99"]))


def test_a_setting_from_a_mapping_is_named_where_it_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"^--set seed=-1: seed: input should be greater than or equal to 0; got -1$"):
        Pipeline.of(config.override(config.parse(TEXT), {"seed": -1}))
