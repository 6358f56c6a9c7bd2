#!/usr/bin/env python3
"""`materialize` into PostgreSQL and Redis, in both layouts, is killed at every fault point that it passes, and completed
by a second run: what psql and redis-cli see is then that of a run that was never disturbed.

materialize_faults.py GNOMON. (interruption.py does the same for SQLite, at every pass.) Rows from a database, too.
"""

import json
import pathlib
import sqlite3

import trips
from online_dumps import PostgresStore, RedisStore
from program import EXHAUSTED, KILLED, SUCCESS, USER, describe, execute, fail, run, temporary_folder
from services import Postgres, Redis
from trips import INTERVAL

KEYS, COMMIT = 40, 16
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
COLUMNS = "driver_id,fare,note"


def make_repository(folder: pathlib.Path, store, layout: str) -> pathlib.Path:
    rows = [(day, f"{key},{key + day},n{key}") for day in (1, 3) for key in range(KEYS)]
    return trips.make_repository(folder, store, layout, COMMIT, rows, columns=COLUMNS, features=FEATURES)


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


def check_database_source(temporary: pathlib.Path, store, source: str, offline: str) -> None:
    """A database does not say whether its rows are those of before: a killed view is written from its beginning."""

    def make(name: str) -> pathlib.Path:
        folder = make_repository(temporary / f"{source.split(',')[0]}_{name}", store, "packed")
        with (folder / "feature_store.yaml").open("a") as settings:
            settings.write(f"offline_store: {{{offline}}}\n")
        features = FEATURES.replace("type: file, path: trips.csv", f"type: {source}").replace(" sink_source: kept,", "")
        (folder / "features.yaml").write_text("\n".join(line for line in features.splitlines() if "name: kept" not in line))
        run("-c", folder, "apply", "--yes")
        return folder

    reference = make("clean")
    run("-c", reference, "materialize", *INTERVAL)
    clean = store.dump(reference, VIEWS)
    assert {len(rows) for rows in clean.values()} == {KEYS}, clean
    for point in ("materialize.before_commit:3", "materialize.before_watermark:2"):
        folder = make(point.replace(":", "_"))
        result = execute("-c", folder, "materialize", *INTERVAL, fault=f"{point}:kill")
        assert result.returncode == KILLED, describe(["materialize"], result)
        check_after_kill(folder, store, clean, point)
        answer = execute("-c", folder, "materialize", *INTERVAL, "--json", "--log-level", "info")
        assert "does not tell whether it has changed" in answer.stderr, describe(["materialize"], answer)
        assert json.loads(answer.stdout)["resumed"] == 1 and json.loads(answer.stdout)["rows"] == 2 * KEYS, answer
        assert store.dump(folder, VIEWS) == clean, f"{point}: the second run differs from an undisturbed one"


def check_spilling(temporary: pathlib.Path, store) -> None:
    """Little memory: the events are spilled, and the kill comes while they are."""
    keys = 5000
    clean = None
    for name, settings in (("plenty", ""), ("little", "memory_limit: 1MiB\n")):
        folder = make_repository(temporary / name, store, "packed")
        with (folder / "feature_store.yaml").open("a") as file:
            file.write(settings)
        rows = [(day, f"{key},{key + day},n{key}") for day in (1, 2, 3, 4) for key in range(keys)]
        trips.write_trips(folder, rows, COLUMNS)
        command = ("-c", folder, "materialize", *INTERVAL, "-v", "window")
        if clean is None:
            run(*command)
            clean = store.dump(folder, VIEWS)
            assert len(clean["window", "packed"]) == keys, clean.keys()
            continue
        result = execute(*command, fault="spill.write:1:kill")
        assert result.returncode == KILLED, describe(command, result)
        assert store.dump(folder, VIEWS) == {}
        run(*command)
        assert store.dump(folder, VIEWS) == clean


def check_full_redis(temporary: pathlib.Path, store) -> None:
    """No memory for more rows: the job fails and says so, readers still get what there is; later it is completed."""
    folder = make_repository(temporary / "full", store, "packed")
    run("-c", folder, "materialize", "2026-01-01", "2026-01-02")
    store.server.cli("CONFIG", "SET", "maxmemory", "1")
    error = fail("-c", folder, "materialize", *INTERVAL, code=EXHAUSTED,
                 says=["materialize latest: ", store.server.address, "maxmemory"])
    assert "OOM" in error, error
    (job,) = [each for each in json.loads(run("-c", folder, "materializations", "list", "--json")) if each["error"]]
    assert job["state"] == "failed" and "OOM" in job["error"], job
    read = ("-c", folder, "get-online-features", "-f", "latest:fare", "-e", '[{"driver_id": 1}]', "--json")
    assert json.loads(run(*read))["results"][-1]["values"] == [2], run(*read)
    store.server.cli("CONFIG", "SET", "maxmemory", "0")
    run("-c", folder, "materialize", *INTERVAL)
    assert json.loads(run(*read))["results"][-1]["values"] == [4], run(*read)


def fill_databases(temporary: pathlib.Path, postgres) -> None:
    rows = [f"({key}, {key + day}, 'n{key}', '2026-01-0{day} 00:00:00')" for day in (1, 3) for key in range(KEYS)]
    insert = f"INSERT INTO trips VALUES {', '.join(rows)}"
    postgres.sql("CREATE SCHEMA source; SET search_path = source; CREATE TABLE trips (driver_id bigint, fare float8, "
                 f"note text, event_timestamp timestamptz); {insert}")
    database = sqlite3.connect(temporary / "trips.db")
    with database:
        database.execute("CREATE TABLE trips (driver_id INTEGER, fare REAL, note TEXT, event_timestamp TIMESTAMP)")
        database.execute(insert)
    database.close()


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
    check_spilling(temporary, RedisStore(redis))
    check_full_redis(temporary, RedisStore(redis))
    fill_databases(temporary, postgres)
    check_database_source(temporary, PostgresStore(postgres), "postgres, table: source.trips",
                          f"type: postgres, {postgres.yaml}")
    check_database_source(temporary, RedisStore(redis), f"sqlite, path: {temporary}/trips.db, table: trips", "type: file")
print(f"materialize was killed {kills} times, and completed by a second run")
