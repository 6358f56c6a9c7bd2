#!/usr/bin/env python3
"""Materialization jobs as users meet them: listed, shown, cancelled from another process, refused when they overlap,
taken up again after a kill in the middle of a view without writing again what was committed; `apply` that would lose
data; `doctor`; what `gnomon serve` was asked for and had not done when it was stopped.

materializations.py GNOMON
"""

import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import time

from program import (CONFLICT, INTERRUPTED, KILLED, NOT_FOUND, PROGRAM, SUCCESS, UNAVAILABLE, USER, Server, execute, fail,
                     run, seconds, temporary_folder)

KEYS = 100
COMMIT = 16  # rows
STORE = """project: jobs
registry: {registry}
online_store: {{type: sqlite, path: data/online.db}}
materialization: {{online_write_batch_size: {batch}}}
"""
FEATURES = """entities: [{name: driver, join_keys: [driver_id]}]
data_sources: [{name: trips, type: file, path: trips.csv, timestamp_field: event_timestamp}]
feature_views:
  - {name: first, entities: [driver], source: trips, schema: [{name: fare, dtype: Float64}]}
  - {name: second, entities: [driver], source: trips, aggregations: [{column: fare, function: sum, time_window: 7d, name: week}]}
"""
INTERVAL = ("2026-01-01", "2026-01-05")


def make_repository(folder: pathlib.Path, registry: str = "data/registry.db") -> pathlib.Path:
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(STORE.format(registry=registry, batch=COMMIT))
    (folder / "features.yaml").write_text(FEATURES)
    write_trips(folder, 1)
    run("-c", folder, "apply")
    return folder


def write_trips(folder: pathlib.Path, fare: int) -> None:
    rows = [f"{key},{fare + key},2026-01-0{1 + key % 4}T00:00:00Z" for key in range(KEYS)]
    (folder / "trips.csv").write_text("driver_id,fare,event_timestamp\n" + "\n".join(rows) + "\n")


def jobs(folder: pathlib.Path, *filters) -> list:
    return json.loads(run("-c", folder, "materializations", "list", "--json", *filters))


def rows_of(folder: pathlib.Path, view: str) -> dict:
    database = sqlite3.connect(folder / "data" / "online.db")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    (table,) = [name for name in tables if name.endswith("_" + view)]
    rows = {key: rest for key, *rest in database.execute(f'SELECT entity_key, event_ts, value FROM "{table}"')}
    database.close()
    return rows


def mark_rows(folder: pathlib.Path) -> None:
    """Makes every stored row a little older: one that is written once more comes back as it was."""
    database = sqlite3.connect(folder / "data" / "online.db")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        if table.endswith(("_first", "_second")):
            database.execute(f'UPDATE "{table}" SET event_ts = event_ts - 1')
    database.commit()
    database.close()


class Paused:
    """A materialization that stands still at a fault point until it is let go."""

    def __init__(self, folder: pathlib.Path, point: str):
        environment = {**os.environ, "GNOMON_FAULT": point + ":pause"}
        self.process = subprocess.Popen([PROGRAM, "-c", str(folder), "materialize", *INTERVAL], env=environment,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        end = time.monotonic() + seconds(30)
        while "T" not in pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1][0]:
            assert self.process.poll() is None and time.monotonic() < end, "the job does not stop at its fault point"
            time.sleep(0.01)
        return self

    def go_on(self) -> subprocess.CompletedProcess:
        self.process.send_signal(signal.SIGCONT)
        out, err = self.process.communicate(timeout=seconds(60))
        return subprocess.CompletedProcess([], self.process.returncode, out, err)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def check_listing(folder: pathlib.Path) -> None:
    assert jobs(folder) == []
    run("-c", folder, "materialize", *INTERVAL)
    run("-c", folder, "materialize-incremental", "2026-01-06", "-v", "first")
    newest, oldest = jobs(folder)
    assert (newest["views"], oldest["views"]) == (["first"], ["first", "second"]), (newest, oldest)
    assert oldest["state"] == "succeeded" and oldest["rows"] == 2 * KEYS and oldest["failed_rows"] == 0, oldest
    assert [each["done"] for each in oldest["progress"]] == [True, True], oldest
    assert jobs(folder, "--view", "second") == [oldest] and jobs(folder, "--limit", "1") == [newest]
    assert jobs(folder, "--state", "failed") == []
    assert json.loads(run("-c", folder, "materializations", "show", oldest["job"], "--json")) == oldest
    assert oldest["job"] in run("-c", folder, "materializations", "list")
    fail("-c", folder, "materializations", "show", "f" * 8, code=NOT_FOUND, says="materializations list")
    fail("-c", folder, "materializations", "cancel", oldest["job"], code=USER, says="is not running")
    fail("-c", folder, "materializations", "resume", oldest["job"], code=USER, says="succeeded already")


def check_overlap_and_cancel(folder: pathlib.Path) -> None:
    with Paused(folder, "materialize.after_commit:2") as paused:
        (job,) = jobs(folder, "--state", "running")
        assert job["process"] == paused.process.pid and job["progress"][0]["rows"] == COMMIT, job
        fail("-c", folder, "materialize", "2026-01-05", "2026-01-09", code=CONFLICT,
             says=[job["job"], "'first'", "--force", "materializations cancel"])
        fail("-c", folder, "materializations", "resume", job["job"], code=CONFLICT, says="is running")
        run("-c", folder, "materialize", "2025-01-01", "2025-02-01")  # does not overlap
        assert "asked" in run("-c", folder, "materializations", "cancel", job["job"])
        assert jobs(folder, "--state", "running")[0]["cancel_requested"]
        # The watch looks while the job goes on: with each commit it gets its chance.
        ended = paused.go_on()
    (after,) = [each for each in jobs(folder) if each["job"] == job["job"]]
    if ended.returncode == SUCCESS:
        assert after["state"] == "succeeded", after  # it was faster than the look at the registry
    else:
        assert ended.returncode == INTERRUPTED and "materializations resume" in ended.stderr, ended
        assert after["state"] == "cancelled", after
        run("-c", folder, "materializations", "resume", job["job"])
    with Paused(folder, "materialize.before_watermark:1") as paused:
        run("-c", folder, "materialize", *INTERVAL, "--force")
        assert paused.go_on().returncode == SUCCESS


def check_cancel_is_obeyed(folder: pathlib.Path) -> None:
    """A job that waits for the store is stopped by another process."""
    writer = sqlite3.connect(folder / "data" / "online.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    process = subprocess.Popen([PROGRAM, "-c", str(folder), "materialize", "2026-01-01", "2026-01-04"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + seconds(30)
    while not jobs(folder, "--state", "running"):
        assert process.poll() is None and time.monotonic() < end
    (job,) = jobs(folder, "--state", "running")
    assert "asked" in run("-c", folder, "materializations", "cancel", job["job"])
    _, error = process.communicate(timeout=seconds(60))  # the store stays locked meanwhile
    writer.execute("ROLLBACK")
    state = json.loads(run("-c", folder, "materializations", "show", job["job"], "--json"))["state"]
    assert (process.returncode, state) == (INTERRUPTED, "cancelled"), (error, state)
    run("-c", folder, "materializations", "resume", job["job"])
    assert len(rows_of(folder, "first")) == KEYS


def check_server_stops(folder: pathlib.Path) -> None:
    """SIGTERM to `gnomon serve` cancels its materializations at once, and they can be taken up again."""
    request = {"start_ts": "2026-01-01T00:00:00", "end_ts": "2026-01-05T00:00:00", "feature_views": None}
    writer = sqlite3.connect(folder / "data" / "online.db", isolation_level=None, check_same_thread=False)
    with Server(folder, "serve", "--no-access-log") as server:
        writer.execute("BEGIN IMMEDIATE")  # the job waits for the store
        assert server.post("/materialize?async=true", request) == (
            202, {"status": "accepted", "feature_views": ["first", "second"]})
        (job,) = jobs(folder)
        assert job["state"] == "running", job
        status, answer = server.post("/materialize?async=true", request)
        assert status == 409 and answer["feature_views"] == ["first", "second"] and job["job"] in answer["error"], answer
        # Reads go on meanwhile; the store is empty yet.
        read = {"features": ["first:fare"], "entities": {"driver_id": [1]}}
        assert server.post("/get-online-features", read)[0] == 200
    writer.execute("ROLLBACK")  # the store stayed locked until the server had ended
    writer.close()
    (job,) = jobs(folder)
    assert job["state"] == "cancelled" and job["rows"] == 0, job
    with Server(folder, "serve", "--no-access-log", "--materializations", "1") as server:
        assert server.post("/materialize", request) == (200, None)
    (again,) = jobs(folder)
    assert (again["job"], again["state"], again["rows"]) == (job["job"], "succeeded", 2 * KEYS), again
    assert len(rows_of(folder, "first")) == KEYS


def check_resume(folder: pathlib.Path, clean: dict, pass_: int) -> None:
    """Killed after some commits: what is committed stays, and is not written again."""
    result = execute("-c", folder, "materialize", *INTERVAL, fault=f"materialize.before_commit:{pass_}:kill")
    assert result.returncode == KILLED, result
    (job,) = jobs(folder)
    assert job["state"] == "interrupted" and "gone" in job["error"], job
    committed = sum(each["rows"] for each in job["progress"])
    assert committed == min(pass_ - 1, KEYS // COMMIT + 1) * COMMIT or job["progress"][0]["done"], job
    mark_rows(folder)
    answer = json.loads(run("-c", folder, "materialize", *INTERVAL, "--json"))
    assert answer["job"] == job["job"] and answer["resumed"] == 1 and answer["rows"] == 2 * KEYS, answer
    for view, rows in clean.items():
        now = rows_of(folder, view)
        marked = [key for key, (event, value) in now.items() if rows[key] == [event + 1, value]]
        written = [key for key, row in now.items() if rows[key] == row]
        (progress,) = [each for each in job["progress"] if each["view"] == view]
        assert len(marked) == progress["rows"] and len(marked) + len(written) == KEYS, (view, len(marked), job)
    assert jobs(folder)[0]["state"] == "succeeded"


def check_changed_source(folder: pathlib.Path) -> None:
    """A source that changed meanwhile is read from its beginning."""
    result = execute("-c", folder, "materialize", *INTERVAL, fault="materialize.before_commit:9:kill")
    assert result.returncode == KILLED and jobs(folder)[0]["progress"][0]["done"], jobs(folder)
    write_trips(folder, 5)
    run("-c", folder, "materializations", "resume", jobs(folder)[0]["job"][:12])
    keys = json.dumps([{"driver_id": key} for key in range(KEYS)])
    answer = json.loads(run("-c", folder, "get-online-features", "-f", "first:fare,second:week", "-e", keys, "--as-of",
                            "2026-01-05T00:00:00Z", "--json"))
    fares, weeks = [each["values"] for each in answer["results"]][-2:]
    assert fares == weeks == [5 + key for key in range(KEYS)], answer


def write_lists(folder: pathlib.Path, changes: dict) -> None:
    """JSON lines; `changes` by key."""
    rows = [{"driver_id": key, "fare": key, "tags": ["a"], "event_timestamp": "2026-01-02T00:00:00Z",
             **changes.get(key, {})} for key in range(KEYS)]
    (folder / "trips.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def check_failed_rows(folder: pathlib.Path, layout: str) -> None:
    """Rows that cannot be written are all counted, the first ones named; nothing behind the last commit is visible."""
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(
        STORE.format(registry="data/registry.db", batch=COMMIT).replace("online.db", f"online.db, layout: {layout}"))
    features = FEATURES.replace("trips.csv", "trips.jsonl").replace("dtype: Float64}", "dtype: Float64}, "
                                                                   "{name: tags, dtype: Array(String)}")
    (folder / "features.yaml").write_text(features)
    write_lists(folder, {0: {"fare": 0.5}})
    run("-c", folder, "apply")

    def fail_with(view: str, rows: int, first: int, changes: dict, says: list) -> None:
        write_lists(folder, changes)
        error = fail("-c", folder, "materialize", *INTERVAL, "-v", view, code=USER, says=says)
        assert "row " not in error and "rows " in error, error
        (job,) = [each for each in jobs(folder, "--view", view) if each["state"] == "failed"]
        assert job["failed_rows"] == rows and job["rows"] <= first and says[0] in job["error"], job
        assert layout == "feast" or len(rows_of(folder, view)) == job["rows"], job
        assert not job["progress"][0]["done"], job
        watermarks = {each["view"]: each["watermark"] for each in json.loads(run("-c", folder, "status", "--json"))["views"]}
        assert watermarks[view] is None, watermarks
        assert f'"failed_rows": {rows}' in run("-c", folder, "materializations", "show", job["job"])

    # A double holds no such number.
    wide = {key: {"fare": 2**53 + 1} for key in (40, 41, 42, 90)}
    for view in ("first", "second"):
        fail_with(view, 4, 40 if view == "first" else KEYS - 4, wide,
                  ["4 rows cannot be written: driver_id = ", "column 'fare' of data source 'trips'",
                   "9007199254740993; driver_id = 4", "; and 1 more", "gnomon validate"])
        write_lists(folder, {0: {"fare": 0.5}})
        run("-c", folder, "materialize", *INTERVAL, "-v", view)
    run("-c", folder, "teardown")
    run("-c", folder, "apply")
    nulls = {key: {"tags": ["a", None]} for key in (40, 60)}
    if layout == "feast":
        fail_with("first", 2, 40, nulls,
                  ["2 rows cannot be written: driver_id = 40: feature 'tags' of view 'first'", "; driver_id = 60: "])
    else:
        write_lists(folder, nulls)
        run("-c", folder, "materialize", *INTERVAL)


def check_apply_losses(folder: pathlib.Path) -> None:
    """Nothing that cannot be brought back goes without --yes."""
    run("-c", folder, "materialize", *INTERVAL)
    path = folder / "features.yaml"
    cases = [(FEATURES.replace("dtype: Float64", "dtype: Int64"), "becomes Int64 instead of Float64"),
             (FEATURES.replace("name: second, ", "name: third, "), "feature view second is deleted"),
             (FEATURES.replace("name: first, ", "name: first, online: false, "), "its table is dropped"),
             (FEATURES.replace("name: week", "name: weekly"), "feature week has materialized data and is removed")]
    for text, says in cases:
        path.write_text(text)
        before = rows_of(folder, "first")
        fail("-c", folder, "apply", code=USER, says=[says, "--yes", "nothing was applied"])
        assert rows_of(folder, "first") == before
    path.write_text(FEATURES)
    assert "no changes" in run("-c", folder, "apply")
    path.write_text(FEATURES.replace("name: second, ", "name: third, "))
    answer = execute("-c", folder, "apply", "--json")
    assert answer.returncode == USER and "is deleted" in json.loads(answer.stderr)["error"], answer
    assert "delete feature view second" in run("-c", folder, "apply", "--yes")


def check_doctor(folder: pathlib.Path) -> None:
    all_well = json.loads(run("-c", folder, "doctor", "--json"))
    assert all(each["ok"] for each in all_well), all_well
    assert {"registry", "online store", "data source trips", "disk", "memory"} <= {each["check"] for each in all_well}
    (folder / "feature_store.yaml").write_text(
        STORE.format(registry="{registry_type: sql, path: 'postgresql://u:secret@127.0.0.1:1/r?connect_timeout=2'}",
                     batch=COMMIT) + "models: trips.csv\nmemory_limit: 1024TiB\n")
    result = execute("-c", folder, "doctor", "--json")
    failed = {each["check"]: each for each in json.loads(result.stdout) if not each["ok"]}
    assert result.returncode == UNAVAILABLE and set(failed) == {"registry", "models", "memory"}, (result, failed)
    assert all(each["remedy"] for each in failed.values()), failed
    assert "127.0.0.1:1" in failed["registry"]["message"] and "secret" not in result.stdout + result.stderr, failed
    (folder / "feature_store.yaml").write_text("project: p\nregistri: x\n")
    fail("-c", folder, "doctor", code=UNAVAILABLE, says="1 of 1 checks failed")


with temporary_folder() as temporary:
    sqlite_registry = "{registry_type: sql, path: 'sqlite:///data/registry.sqlite'}"
    plain = make_repository(temporary / "plain")
    check_listing(plain)
    expected = {view: rows_of(plain, view) for view in ("first", "second")}
    check_overlap_and_cancel(plain)
    check_cancel_is_obeyed(make_repository(temporary / "cancelled", sqlite_registry))
    for number, registry in ((1, "data/registry.db"), (3, "data/registry.db"), (4, sqlite_registry),
                             (10, sqlite_registry)):
        check_resume(make_repository(temporary / f"killed{number}", registry), expected, number)
    check_server_stops(make_repository(temporary / "served"))
    check_changed_source(make_repository(temporary / "changed"))
    for layout in ("packed", "feast"):
        check_failed_rows(temporary / layout, layout)
    check_apply_losses(make_repository(temporary / "losses", sqlite_registry))
    check_doctor(make_repository(temporary / "doctor"))
print("materialization jobs are kept, cancelled, refused and resumed; apply asks; doctor finds what is wrong")
