#!/usr/bin/env python3
"""`materialize` into PostgreSQL and Redis, in both layouts, is killed at every fault point that it passes, and completed
by a second run: what psql and redis-cli see is then that of a run that was never disturbed.

materialize_faults.py GNOMON. (interruption.py does the same for SQLite, at every pass.)
"""

import json
import pathlib

from online_dumps import PROJECT, PostgresStore, RedisStore
from program import KILLED, SUCCESS, USER, describe, execute, fail, run, temporary_folder
from services import Postgres, Redis

KEYS, COMMIT = 40, 16
STORE = """project: {project}
registry: data/registry.db
online_store: {{{store}, layout: {layout}}}
materialization: {{online_write_batch_size: {batch}}}
"""
FEATURES = """entities: [{name: driver, join_keys: [driver_id]}]
data_sources:
  - {name: trips, type: file, path: trips.csv, timestamp_field: event_timestamp}
  - {name: kept, type: file, path: kept, timestamp_field: event_timestamp}
feature_views:
  - {name: latest, entities: [driver], source: trips, sink_source: kept,
     schema: [{name: fare, dtype: Float64}, {name: note, dtype: String}]}
  - {name: window, entities: [driver], source: trips, aggregations: [{column: fare, function: sum, time_window: 7d, name: week}]}
"""
VIEWS = {"latest": ("fare", "note"), "window": ("week",)}
INTERVAL = ("2026-01-01", "2026-01-05")


def make_repository(folder: pathlib.Path, store, layout: str) -> pathlib.Path:
    store.reset()
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(STORE.format(project=PROJECT, store=store.yaml, layout=layout, batch=COMMIT))
    (folder / "features.yaml").write_text(FEATURES)
    rows = [f"{key},{key + day},n{key},2026-01-0{day}T00:00:00Z" for day in (1, 3) for key in range(KEYS)]
    (folder / "trips.csv").write_text("driver_id,fare,note,event_timestamp\n" + "\n".join(rows) + "\n")
    run("-c", folder, "apply")
    return folder


def fault_points() -> list:
    """The program lists its points when it is asked for one that does not exist."""
    error = fail("version", code=USER, says="points: ", fault="nothing:1:kill")
    return error.split("points: ")[1].strip().split(", ")


def check_after_kill(folder: pathlib.Path, store, clean: dict, where: str) -> None:
    """Every row that is there is one of an undisturbed run, as a whole; what the job calls committed is there; an interval
    is published with all its rows only."""
    now = store.dump(folder, VIEWS)
    for table, rows in now.items():
        assert rows.items() <= clean[table].items(), f"{where}: {table} has rows of its own"
    complete = {view for view in VIEWS if all(now.get(table) == rows for table, rows in clean.items() if table[0] == view)}
    for job in json.loads(run("-c", folder, "materializations", "list", "--json")):
        for each in job["progress"]:
            stored = min((len(rows) for table, rows in now.items() if table[0] == each["view"]), default=0)
            assert stored >= each["rows"], f"{where}: {each} but {stored} rows"
    for view in json.loads(run("-c", folder, "status", "--json"))["views"]:
        assert view["watermark"] is None or view["view"] in complete, f"{where}: {view} is published before its rows"


def check_kills(temporary: pathlib.Path, store, layout: str, points: list, passes: dict) -> int:
    reference = make_repository(temporary / f"{store.name}_{layout}", store, layout)
    run("-c", reference, "materialize", *INTERVAL)
    clean = store.dump(reference, VIEWS)
    assert {len(rows) for rows in clean.values()} == {KEYS} and {view for view, _ in clean} == set(VIEWS), clean
    kills = 0
    for point in points:
        where = f"{point}:{passes.get(point, 1)}:kill of {store.name}, {layout}"
        folder = make_repository(temporary / f"{store.name}_{layout}_{point}", store, layout)
        result = execute("-c", folder, "materialize", *INTERVAL, fault=where.split(" ")[0])
        assert result.returncode in (KILLED, SUCCESS), f"{where}: {describe(['materialize'], result)}"
        if result.returncode == SUCCESS:
            assert not point.startswith("materialize."), f"{where} is not passed"
            continue
        kills += 1
        check_after_kill(folder, store, clean, where)
        answer = json.loads(run("-c", folder, "materialize", *INTERVAL, "--json"))
        assert store.dump(folder, VIEWS) == clean, f"{where}: the second run differs from an undisturbed one"
        assert answer["rows"] == 2 * KEYS, answer
    return kills


with temporary_folder() as temporary, Postgres() as postgres, Redis() as redis:
    kills = 0
    every = fault_points()
    writing = [point for point in every if point.startswith(("materialize.", "registry."))]
    for store in (PostgresStore(postgres), RedisStore(redis)):
        kills += check_kills(temporary, store, "packed", every,
                             {"materialize.before_commit": 2, "materialize.after_batch": 3})
        kills += check_kills(temporary, store, "feast", writing,
                             {"materialize.after_commit": 2, "materialize.before_commit": 3, "registry.before_write": 3,
                              "materialize.before_watermark": 2})
    assert kills == 34, kills
print(f"materialize was killed {kills} times, and completed by a second run")
