"""What every policy owes its user. Policies are found by walking the packages: a new one is tested with no test written."""

import doctest
import inspect
import sys

import pytest

from modyn import policy
from modyn.errors import ConfigError
from modyn.policy import Policy

EVERY = [
    pytest.param(cls, id=f"{role}:{name}")
    for role, top in policy.roles().items()
    for name, cls in policy.policies(top).items()
]


@pytest.mark.parametrize("cls", EVERY)
def test_it_has_a_one_line_summary(cls: type[Policy]) -> None:
    summary = policy.summary_of(cls)
    assert 10 <= len(summary) <= 160
    assert summary.endswith((".", ":"))


@pytest.mark.parametrize("cls", EVERY)
def test_every_option_is_documented(cls: type[Policy]) -> None:
    silent = [option.name for option in policy.option_docs(cls) if not option.description]
    assert not silent


@pytest.mark.parametrize("cls", EVERY)
def test_it_has_an_example_that_runs(cls: type[Policy]) -> None:
    assert policy.example_of(cls), f"{cls.__name__} has no doctest"
    module = sys.modules[cls.__module__]
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(recurse=False).find(cls, cls.__name__, globs=dict(vars(module))):
        assert runner.run(test).failed == 0


@pytest.mark.parametrize("cls", EVERY)
def test_it_stands_alone_in_the_file_of_its_name(cls: type[Policy]) -> None:
    module = sys.modules[cls.__module__]
    here = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    rivals = [c for c in here if issubclass(c, cls.role_class) and not c.__name__.startswith("_")]
    assert rivals == [cls]


@pytest.mark.parametrize("cls", EVERY)
def test_a_misspelt_option_names_where_what_and_the_nearest(cls: type[Policy]) -> None:
    name = policy.name_of(cls)
    with pytest.raises(ConfigError) as caught:
        policy.build(cls.role_class, {name: {"no_such_option_": 1}})
    assert f"{cls.role}.{name}.no_such_option_: no option is named 'no_such_option_' here." in str(caught.value)


@pytest.mark.parametrize("cls", EVERY)
def test_its_schema_can_be_written(cls: type[Policy]) -> None:
    assert cls.model_json_schema()["type"] == "object"


@pytest.mark.parametrize("role", policy.roles().values(), ids=list(policy.roles()))
def test_a_misspelt_name_is_answered_with_the_nearest(role: type[Policy]) -> None:
    name = next(iter(policy.policies(role)))
    with pytest.raises(ConfigError, match=rf"no {role.role} (is|are) named '{name}x'\. Did you mean '{name}'\?"):
        policy.build(role, f"{name}x")
