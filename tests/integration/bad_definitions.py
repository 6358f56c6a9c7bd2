#!/usr/bin/env python3
"""Bad feature_store.yaml, features.yaml and training files: what is wrong, where, and the nearest name.

bad_definitions.py GNOMON. Every case edits a fresh copy of the minimal template. The registry of an earlier `apply`
stays as it was.
"""

import pathlib
import shutil

from program import NOT_FOUND, UNSUPPORTED, USER, fail, run, temporary_folder

ON_DEMAND = """on_demand_feature_views:
"""
CYCLE = """on_demand_feature_views:
  - {name: one, sources: [two], features: [{name: x, dtype: Float64, expression: y}]}
  - {name: two, sources: [one], features: [{name: y, dtype: Float64, expression: x}]}
"""
SELF_CYCLE = """on_demand_feature_views:
  - {name: one, sources: [one], features: [{name: x, dtype: Float64, expression: x}]}
"""
SECOND_ENTITY = """entities:
  - {name: driver, join_keys: [other], value_type: INT64}
"""
SECOND_VIEW = """feature_views:
  - {name: driver_stats, entities: [driver], source: driver_stats_source, schema: [{name: acc_rate, dtype: Float64}]}
"""


def replaced(old: str, new: str):
    """An edit: `old`, which must be there, becomes `new`."""

    def edit(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return edit


def appended(more: str):
    return lambda text: text + more


def whole(text: str):
    return lambda _: text


# (what, edit, exit code, texts of the message)
STORE_CASES = [
    ("malformed YAML", whole("project: [a\n"), USER, ["invalid YAML: ", "feature_store.yaml:2:1"]),
    ("a tab", whole("project: a\n\tregistry: b\n"), USER, ["invalid YAML: illegal tab", "feature_store.yaml:2:1"]),
    ("an empty file", whole(""), USER, ["expected a mapping of keys", "feature_store.yaml", "project: my_project"]),
    ("a list", whole("- project\n"), USER, ["expected a mapping of keys", "feature_store.yaml:1:1"]),
    ("an unknown key", appended("registri: x\n"), USER,
     ["unknown key 'registri'", "feature_store.yaml:10:1", "did you mean 'registry'?"]),
    ("an unknown key whose value is on another line", appended("tracing:\n  path: x\n"), USER,
     ["unknown key 'tracing'", "feature_store.yaml:10:1", "did you mean 'tracking'?"]),
    ("an unknown key of a section", replaced("  path: data/online_store.db", "  pth: data/online_store.db"), USER,
     ["online_store: unknown key 'pth'", "feature_store.yaml:8:3", "did you mean 'path'?"]),
    ("a key twice", appended("project: b\n"), USER, ["the key stands twice: 'project'", "feature_store.yaml:10:1"]),
    ("a list for text", replaced("project: my_project", "project: [1, 2]"), USER,
     ["project: expected text, got a sequence", "feature_store.yaml:1:10"]),
    ("text for a number", replaced("version: 3", "version: three"), USER,
     ["entity_key_serialization_version: expected a whole number", "got 'three'", "feature_store.yaml:9:35"]),
    ("a variable that is not set", replaced("my_project", "${GNOMON_TEST_NOT_SET}"), USER,
     ["environment variable is not set: GNOMON_TEST_NOT_SET", "feature_store.yaml:1:10"]),
    ("an unknown store", replaced("type: sqlite", "type: dynamodb"), UNSUPPORTED,
     ["online_store type 'dynamodb'", "feature_store.yaml:7:9", "online_store type: sqlite"]),
]

FEATURE_CASES = [
    ("malformed YAML", appended("x: {a: [1}\n"), USER, ["invalid YAML: ", "features.yaml:32:"]),
    ("an empty file", whole(""), USER, ["the file of definitions is empty", "features.yaml", "gnomon init"]),
    ("an unknown section", appended("feature_view:\n  - name: x\n"), USER,
     ["unknown key 'feature_view'", "features.yaml:32:1", "did you mean 'feature_views'?"]),
    ("an unknown key", replaced("    ttl: 1d", "    tttl: 1d"), USER,
     ["feature_views[0]: unknown key 'tttl'", "features.yaml:17:5", "did you mean 'ttl'?"]),
    ("a section of another type", whole("entities: 3\n"), USER,
     ["entities: expected a sequence, got '3'", "features.yaml:1:11"]),
    ("a bad duration", replaced("ttl: 1d", "ttl: one day"), USER,
     ["feature_views[0].ttl: expected a duration, got 'one day'", "features.yaml:17:10", "1h 30min"]),
    ("an unknown type", replaced("name: conv_rate, dtype: Float64", "name: conv_rate, dtype: Flot64"), USER,
     ["feature_views[0].schema[0].dtype: unknown type 'Flot64'", "features.yaml:19:", "did you mean 'Float64'?"]),
    ("an unknown entity", replaced("entities: [driver]", "entities: [drivr]"), USER,
     ["feature view 'driver_stats': unknown entity 'drivr'", "features.yaml:14:5", "did you mean 'driver'?"]),
    ("an unknown data source", replaced("    source: driver_stats_source", "    source: driver_stat_source"), USER,
     ["feature view 'driver_stats': unknown data source 'driver_stat_source'", "features.yaml:14:5",
      "did you mean 'driver_stats_source'?"]),
    ("an unknown view in a service", replaced("features: [driver_stats, ", "features: [driver_stat, "), USER,
     ["feature service 'driver_activity': unknown view 'driver_stat'", "features.yaml:30:5",
      "did you mean 'driver_stats'?"]),
    ("an entity twice", replaced("entities:\n", SECOND_ENTITY), USER,
     ["entity 'driver': the name stands twice", "features.yaml:"]),
    ("a view twice", replaced("feature_views:\n", SECOND_VIEW), USER,
     ["feature view 'driver_stats': the name stands twice", "features.yaml:"]),
    ("an on-demand view named like a view", replaced("  - name: trips_per_hour", "  - name: driver_stats"), USER,
     ["on demand feature view 'driver_stats': another view has this name", "features.yaml:24:5"]),
    ("a cycle", replaced(ON_DEMAND, CYCLE), USER,
     ["on demand feature view 'one': its sources form a cycle: one -> two -> one", "features.yaml:24:5"]),
    ("a cycle of one", replaced(ON_DEMAND, SELF_CYCLE), USER,
     ["on demand feature view 'one': its sources form a cycle: one -> one", "features.yaml:24:5"]),
    ("an unknown column in an expression", replaced("avg_daily_trips / 24", "avg_daily_trip / 24"), USER,
     ["feature 'trips_per_hour': unknown column: avg_daily_trip", "features.yaml:24:5",
      "did you mean 'avg_daily_trips'?"]),
    ("an expression that ends too early", replaced("avg_daily_trips / 24", "avg_daily_trips /"), USER,
     ["feature 'trips_per_hour': expected a value but found: the end", "features.yaml:24:5"]),
    ("an unknown column in a transformation",
     replaced("    ttl: 1d", "    ttl: 1d\n    transformations: {half: conv_rat / 2}"), USER,
     ["feature view 'driver_stats': transformation 'half': unknown column", "conv_rat", "features.yaml:14:5"]),
    ("a feature that the source lacks", replaced("name: conv_rate,", "name: conv_rat,"), USER,
     ["feature view 'driver_stats': feature 'conv_rat' is no column of 'data/driver_stats.csv'", "features.yaml:14:5",
      "did you mean 'conv_rate'?"]),
    ("a feature of another type", replaced("name: conv_rate, dtype: Float64", "name: conv_rate, dtype: Bool"), USER,
     ["feature view 'driver_stats': feature 'conv_rate' is declared Bool, but its column is Float64",
      "features.yaml:14:5", "declare dtype: Float64"]),
    ("a join key that the source lacks", replaced("join_keys: [driver_id]", "join_keys: [drver_id]"), USER,
     ["feature view 'driver_stats': join key 'drver_id' is no column of 'data/driver_stats.csv'", "features.yaml:14:5",
      "did you mean 'driver_id'?"]),
    ("a join key of another type", replaced("value_type: INT64", "value_type: STRING"), USER,
     ["feature view 'driver_stats': join key 'driver_id' is int64 in 'data/driver_stats.csv'",
      "entity 'driver' has value_type String", "features.yaml:14:5", "value_type: Int64"]),
    ("a timestamp that the source lacks", replaced("timestamp_field: event_timestamp", "timestamp_field: event_time"),
     USER, ["data source 'driver_stats_source': timestamp_field 'event_time' is no column of 'data/driver_stats.csv'",
            "features.yaml:7:5", "columns: driver_id, event_timestamp, created"]),
    ("a timestamp of another type", replaced("timestamp_field: event_timestamp", "timestamp_field: conv_rate"), USER,
     ["data source 'driver_stats_source': timestamp_field 'conv_rate' is double, not a timestamp",
      "features.yaml:7:5"]),
    ("a source file that is missing", replaced("path: data/driver_stats.csv", "path: data/driver_stat.csv"), NOT_FOUND,
     ["data source 'driver_stats_source': no such file or folder: ", "data/driver_stat.csv", "features.yaml:7:5"]),
]

TRAINING = """name: m
feature_service: driver_activity
entities: data/trips.csv
label: trip_completed
model: {type: mlp, task: regression, hidden: [4]}
"""

TRAINING_CASES = [
    ("malformed YAML", whole("name: {a\n"), USER, ["invalid YAML: ", "training.yaml:"]),
    ("an empty file", whole(""), USER, ["training.yaml"]),
    ("an unknown key", appended("optimiser: {lr: 1}\n"), USER,
     ["unknown key 'optimiser'", "training.yaml:6:1", "did you mean 'optimizer'?"]),
    ("an unknown key of a section", appended("optimizer: {learning: 1}\n"), USER,
     ["optimizer: unknown key 'learning'", "training.yaml:6:13"]),
    ("text for a number", appended("optimizer: {lr: fast}\n"), USER,
     ["optimizer.lr: expected a number, got 'fast'", "training.yaml:6:17"]),
    ("a missing key", replaced("label: trip_completed\n", ""), USER, ["label", "training.yaml"]),
    ("an unknown service", replaced("driver_activity", "driver_actvity"), NOT_FOUND,
     ["feature service does not exist: 'driver_actvity'", "did you mean 'driver_activity'?"]),
    ("a missing entity file", replaced("data/trips.csv", "data/trip.csv"), NOT_FOUND,
     ["no such file or folder: ", "data/trip.csv"]),
    ("an unknown label", replaced("label: trip_completed", "label: trip_complete"), USER,
     ["'trip_complete'", "did you mean 'trip_completed'?"]),
]


def data_files(repository: pathlib.Path):
    """Without the runs: a run that failed is kept."""
    return sorted(entry.name for entry in (repository / "data").iterdir() if entry.name != "runs")


def check_cases(template: pathlib.Path, file: str, cases, *command) -> None:
    for what, edit, code, says in cases:
        with temporary_folder() as folder:
            repository = folder / "repository"
            shutil.copytree(template, repository)
            path = repository / file
            path.write_text(edit(path.read_text()))
            before = data_files(repository)
            registry = (repository / "data/registry.db").read_bytes()
            try:
                fail("-c", repository, *(str(part).format(repository=repository) for part in command), code=code,
                     says=says)
            except AssertionError as error:
                raise AssertionError(f"{file}, {what}: {error}") from None
            assert (repository / "data/registry.db").read_bytes() == registry, what
            assert data_files(repository) == before, what


with temporary_folder() as temporary:
    minimal = temporary / "minimal"
    run("init", minimal, "--template", "minimal")
    (minimal / "training.yaml").write_text(TRAINING)
    run("-c", minimal, "apply")
    check_cases(minimal, "feature_store.yaml", STORE_CASES, "apply")
    for each in ("apply", "plan", "validate"):
        check_cases(minimal, "features.yaml", FEATURE_CASES if each == "apply" else FEATURE_CASES[-8:], each)
    check_cases(minimal, "training.yaml", TRAINING_CASES, "train", "{repository}/training.yaml")

    fail("-c", temporary / "nowhere", "apply", code=NOT_FOUND,
         says=["no feature_store.yaml: ", "nowhere/feature_store.yaml", "gnomon init"])
    (minimal / "features.yaml").unlink()
    fail("-c", minimal, "apply", code=NOT_FOUND, says=["no features.yaml", "gnomon init"])
print("bad definitions are told")
