import re
from pathlib import Path

from modyn.cli.reference import reference


def test_the_command_reference_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert page.read_text() == reference(), "run: make docs"


def test_every_command_and_option_says_what_it_does() -> None:
    for section in reference().split("\n## ")[1:]:
        usage, _, rest = section.partition("\n\n  ")
        assert rest.strip(), f"no help: {usage}"
        for line in re.findall(r"^  (--?\w[\w-]*.*)$", section, flags=re.M):
            assert re.search(r"  \S", line) or len(line) > 24, f"no help: {line}"
