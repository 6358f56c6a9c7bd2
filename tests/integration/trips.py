"""The repository of the tests that interrupt materializations: trips of drivers, their newest rows and a window."""

import pathlib

from online_dumps import PROJECT
from program import run

STORE = """project: {project}
registry: {registry}
online_store: {{{store}, layout: {layout}}}
materialization: {{online_write_batch_size: {batch}}}
"""
FEATURES = """entities: [{name: driver, join_keys: [driver_id]}]
data_sources: [{name: trips, type: file, path: trips.csv, timestamp_field: event_timestamp}]
feature_views:
  - {name: latest, entities: [driver], source: trips, schema: [{name: fare, dtype: Float64}]}
  - {name: window, entities: [driver], source: trips, aggregations: [{column: fare, function: sum, time_window: 7d, name: week}]}
"""
VIEWS = {"latest": ("fare",), "window": ("week",)}
INTERVAL = ("2026-01-01", "2026-01-05")


def write_trips(folder: pathlib.Path, rows, columns: str = "driver_id,fare") -> None:
    """`rows` are pairs of a day of January and its columns' text."""
    lines = [f"{columns},event_timestamp", *(f"{row},2026-01-0{day}T00:00:00Z" for day, row in rows)]
    (folder / "trips.csv").write_text("\n".join(lines) + "\n")


def make_repository(folder: pathlib.Path, store, layout: str, batch: int, rows, columns: str = "driver_id,fare",
                    features: str = FEATURES, registry: str = "data/registry.db") -> pathlib.Path:
    """Applied, in an online store of its own; commits have `batch` rows."""
    store.reset()
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(STORE.format(project=PROJECT, registry=registry, store=store.yaml,
                                                            layout=layout, batch=batch))
    (folder / "features.yaml").write_text(features)
    write_trips(folder, rows, columns)
    run("-c", folder, "apply")
    return folder
