"""One HTML file that tells what retraining was worth: no network, nothing beside it, everything from users escaped."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from modyn.errors import RunError
from modyn.reports.charts import firings, score_against_cost, score_over_time
from modyn.reports.compare import COSTS, Comparison, compare
from modyn.reports.drawing import Chart, colour_of
from modyn.reports.run_charts import run_charts
from modyn.reports.summary import CAUTION, findings, front_sentence, headline, policies
from modyn.reports.words import (
    MODEL_NAMES,
    UNDEFINED,
    count_text,
    duration_text,
    is_missing,
    rows_of,
    score_text,
    size_text,
    span_text,
)
from modyn.run import STATIONS, Run
from modyn.types import to_datetime
from modyn.workspace import write_durably

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

SAYS = {
    "running": "is still running: this report shows what it has done so far.",
    "stopped": "was stopped before its end: this report shows its finished rounds.",
    "failed": "failed: this report shows what it did before.",
    "interrupted": "ended without saying so (its process died): this report shows what it had done.",
}
MAX_WARNINGS = 50


def write_html(runs: Sequence[Run] | Run, path: str | Path) -> Path:
    """Write the report of one or several runs and return its path.

    Raises RunError if there is no run, or the path cannot be written.
    """
    content = report_html(runs).encode()
    path = Path(path).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)
    except OSError as error:
        raise RunError(f"the report cannot be written to {path}: {error.strerror or error}") from error
    return path


def report_html(runs: Sequence[Run] | Run) -> str:
    """The report as text. Raises RunError if there is no run."""
    comparison = compare(runs)
    charts = _overview(comparison)
    of_runs = [run_charts(run, number) for number, run in enumerate(comparison.runs)]
    every = [*charts, *(chart for made in of_runs for chart in made)]
    abouts = [
        _about(run, n, of_runs[n], str(comparison.table["name"].iloc[n])) for n, run in enumerate(comparison.runs)
    ]
    plotly, script = _plotly(), _text("report.js")
    return _template().render(
        title=headline(comparison.runs),
        several=len(comparison.runs) > 1,
        comparison=comparison,
        metrics=list(comparison.metrics),
        costs=COSTS,
        summaries={m: _summary(comparison, m) for m in comparison.metrics},
        caution=CAUTION,
        charts=charts,
        runs=abouts,
        style=_raw(_text("report.css")),
        data=_raw(_as_json({chart.id: chart.figures for chart in every})),
        plotly=_raw(plotly),
        script=_raw(script),
        policy=_raw(_content_security(plotly, script)),
        UNDEFINED=UNDEFINED,
    )


def _summary(comparison: Comparison, metric: str) -> dict[str, Any]:
    front = front_sentence(comparison, metric) if len(comparison.runs) > 1 else ""
    return {"findings": findings(comparison, metric), "front": front}


def _overview(comparison: Comparison) -> list[Chart]:
    """The charts above the runs' own."""
    if not comparison.metrics:
        return [firings(comparison.runs)] if len(comparison.runs) > 1 else []
    charts = [score_over_time(comparison.runs, comparison.metrics)]
    if len(comparison.runs) > 1:
        charts += [score_against_cost(comparison), firings(comparison.runs)]
    return charts


def _about(run: Run, number: int, charts: Sequence[Chart], name: str) -> dict[str, Any]:
    """What the page says of one run."""
    warnings = [_warning(row.round, row.message) for row in rows_of(run.warnings)]
    return {
        "number": number,
        "name": name,
        "colour": colour_of(number).removeprefix("$"),
        "status": run.status,
        "says": SAYS.get(run.status, ""),
        "why": run.why,
        "facts": _facts(run),
        "charts": charts,
        "scores": _scores(run),
        "rounds": _rounds(run),
        "config": yaml.safe_dump(_plain(run.pipeline), sort_keys=False, allow_unicode=True, width=100),
        "versions": dict(run.started.get("versions") or {}),
        "warnings": warnings[:MAX_WARNINGS],
        "more_warnings": max(0, len(warnings) - MAX_WARNINGS),
    }


def _facts(run: Run) -> dict[str, str]:
    """What was run, on what, when; only what the journal has."""
    started, rounds = run.started, run.rounds
    first = next(iter(run.log.events("run-started")), None)
    num_samples, first_step, memory = started.get("num_samples"), rounds["first_step_s"], rounds["peak_memory_bytes"]
    facts = {
        "run": run.id,
        "status": run.status,
        "policies": policies(run) if started else "",
        "dataset": _dataset(started),
        "samples": "" if num_samples is None else f"{num_samples:,}",
        "stream": _stream(started),
        "trainings": count_text(run.num_rounds, "finished round"),
        "retraining": duration_text(run.retraining_seconds),
        "all stations": duration_text(run.seconds),
        "to first step": f"median {duration_text(float(first_step.median()))}" if first_step.notna().any() else "",
        "devices": ", ".join(sorted({str(d) for d in rounds["device"].dropna()})),
        "peak memory": size_text(float(memory.max())) if memory.notna().any() else "",
        "seed": "" if started.get("seed") is None else str(started["seed"]),
        "git commit": str(started.get("git") or "none recorded"),
        "started": "" if first is None else f"{to_datetime(first.at):%Y-%m-%d %H:%M:%S} UTC",
    }
    return {name: text for name, text in facts.items() if text}


def _dataset(started: Mapping[str, Any]) -> str:
    name, version = started.get("dataset"), started.get("dataset_version")
    return ", ".join(part for part in (name or "", "" if version is None else f"version {version}") if part)


def _stream(started: Mapping[str, Any]) -> str:
    borders = started.get("stream_time")
    return span_text(to_datetime(borders[0]), to_datetime(borders[1])) if borders and None not in borders else ""


def _warning(number: Any, message: str) -> str:
    return message if is_missing(number) else f"round {number}: {message}"


def _scores(run: Run) -> list[dict[str, str]]:
    """The run's own mean scores, a row a model and a column a metric; it says where windows are left out of a mean."""
    rows: dict[str, dict[str, str]] = {}
    for row in rows_of(run.scores):
        cells = rows.setdefault(row.model, {"model": MODEL_NAMES.get(row.model, row.model)})
        over = f" ({row.num_windows} of {row.num_windows + row.num_undefined} windows)"
        cells[row.metric] = score_text(row.mean) + (over if row.num_windows and row.num_undefined else "")
    return list(rows.values())


def _rounds(run: Run) -> list[dict[str, str]]:
    """The table of rounds as texts by column title; columns in which nothing was logged are left out."""
    rows = [_round(run, row) for row in run.rounds.to_dict("records")]
    return [{name: row[name] for name in row if any(other[name] for other in rows)} for row in rows]


def _round(run: Run, row: Mapping[Any, Any]) -> dict[str, str]:
    counts = ("num_samples", "num_candidates", "num_selected", "num_trained", "num_steps")
    known = {name: "" if is_missing(row[name]) else f"{int(row[name]):,}" for name in counts}
    has_times = not is_missing(row["start_time"]) and not is_missing(row["end_time"])
    shown = {
        "round": str(row["round"]),
        "finished": "yes" if row["finished"] else "no",
        "new data": span_text(row["start_time"], row["end_time"]) if has_times else "",
        "new samples": known["num_samples"],
        "candidates": known["num_candidates"],
        "selected": known["num_selected"],
        "trained on": known["num_trained"],
        "steps": known["num_steps"],
        "last loss": "" if is_missing(row["loss"]) else score_text(row["loss"]),
    }
    is_followed = not is_missing(row["data_until"]) and bool((run.windows["start"] >= row["data_until"]).any())
    for metric in run.metrics:
        shown[metric] = score_text(row[f"score_{metric}"]) if is_followed else ""
    for station in STATIONS:
        shown[f"{station} time"] = duration_text(row[f"seconds_{station}"]) if row[f"seconds_{station}"] else ""
    size = row["size_bytes"]
    return shown | {"checkpoint": str(row["checkpoint"] or ""), "size": "" if is_missing(size) else size_text(size)}


def _plain(document: Any) -> Any:
    return json.loads(json.dumps(document, default=str))


def _as_json(value: Any) -> str:
    """JSON that may stand inside a script element, whatever the strings hold."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), default=str)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _content_security(*scripts: str) -> str:
    """A policy under which the page can load nothing at all and runs these scripts only."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def _raw(text: str) -> "Markup":
    from markupsafe import Markup

    return Markup(text)


@cache
def _plotly() -> str:
    """Plotly's script, safe to stand inside a script element."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script").strip()


@cache
def _text(name: str) -> str:
    return resources.files("modyn.reports").joinpath(name).read_text("utf-8").strip()


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_text("report.html.j2"))
