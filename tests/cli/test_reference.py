from pathlib import Path

from modyn.cli.reference import reference


def test_the_command_reference_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert page.read_text() == reference(), "run: make docs"


def test_every_command_and_option_says_what_it_does() -> None:
    for line in reference().splitlines():
        if line.startswith("| `"):
            assert not line.endswith("|  |"), f"no help: {line}"
