"""The report's chart of what triggers measured: each trigger's quantities are drawn for themselves."""

from pathlib import Path

from modyn.reports.trigger_chart import trigger_values
from tests.reports.journals import Journal


def _labels(tmp_path: Path, ways: list[dict[str, str]]) -> tuple[list[str], list[list[float]]]:
    journal = Journal(tmp_path)
    for key in range(4):
        for number, way in enumerate(ways):
            metrics = {"mmd": {"distance": number + 0.5, "threshold": 1.0, "p_value": None, "fired": number > 0}}
            place = {"key": key, "timestamp": key * 1_000_000, "fired": number > 0}
            journal.log.append("trigger-checked", trigger="drift", metrics=metrics, **place, **way)
    journal.round(0)
    chart = trigger_values(journal.close(), 0)
    assert chart is not None
    figure = chart.figures["*"]
    labels = [note["text"] for note in figure["layout"]["annotations"]]
    return labels, [trace["y"] for trace in figure["data"] if trace["name"] == "measured"]


def test_two_triggers_of_the_same_name_have_a_panel_each(tmp_path: Path) -> None:
    ways = [{"part_of": "any-of", "name": "drift 0"}, {"part_of": "any-of", "name": "drift 2"}]
    labels, values = _labels(tmp_path, ways)
    assert labels == ["drift 0: mmd: distance", "drift 2: mmd: distance"]
    assert values == [[0.5] * 4, [1.5] * 4]


def test_triggers_called_the_same_in_different_combinations_are_told_apart_by_where_they_are(tmp_path: Path) -> None:
    labels, _ = _labels(tmp_path, [{"part_of": "cooldown > any-of"}, {"part_of": "cooldown > any-of > all-of"}])
    assert [label.replace("&gt;", ">") for label in labels] == [
        "drift: mmd: distance",
        "all-of > drift: mmd: distance",
    ]


def test_a_trigger_by_itself_is_not_named(tmp_path: Path) -> None:
    assert _labels(tmp_path, [{}])[0] == ["mmd: distance"]
