#!/usr/bin/env python3
"""`materialize` is killed at random moments, again and again, until it has succeeded; the store is then that of a run that
was never disturbed.

materialize_kills.py GNOMON. At least KILLS kills, and as many as fit into GNOMON_SOAK_SECONDS; counted by the phase that the
job's record and the store show after each. The seed is printed; GNOMON_SOAK_SEED repeats it.
"""

import collections
import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from program import KILLED, PROGRAM, SUCCESS, run, seconds, temporary_folder  # noqa: E402

KILLS = 100
SECONDS = float(os.environ.get("GNOMON_SOAK_SECONDS", "0"))
KEYS = 20_000
COMMIT = 1_000
STORE = """project: soak
registry: {registry}
online_store: {{type: sqlite, path: data/online.db}}
materialization: {{online_write_batch_size: {batch}}}
"""
FEATURES = """entities: [{name: driver, join_keys: [driver_id]}]
data_sources: [{name: trips, type: file, path: trips.csv, timestamp_field: event_timestamp}]
feature_views:
  - {name: latest, entities: [driver], source: trips, schema: [{name: fare, dtype: Float64}]}
  - {name: window, entities: [driver], source: trips, aggregations: [{column: fare, function: sum, time_window: 7d, name: week}]}
"""
INTERVAL = ("2026-01-01", "2026-01-05")
REGISTRIES = ("data/registry.db", "{registry_type: sql, path: 'sqlite:///data/registry.sqlite'}")


def make_repository(folder: pathlib.Path, registry: str) -> pathlib.Path:
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(STORE.format(registry=registry, batch=COMMIT))
    (folder / "features.yaml").write_text(FEATURES)
    rows = [f"{key},{key % 97 + day},2026-01-0{day}T00:00:00Z" for day in (1, 3) for key in range(KEYS)]
    (folder / "trips.csv").write_text("driver_id,fare,event_timestamp\n" + "\n".join(rows) + "\n")
    run("-c", folder, "apply")
    return folder


def stored(folder: pathlib.Path) -> dict:
    database = sqlite3.connect(folder / "data" / "online.db")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {table.rsplit("_", 1)[1]: sorted(database.execute(f'SELECT entity_key, event_ts, created_ts, value FROM "{table}"'))
            for table in tables if table.endswith(("_latest", "_window"))}
    database.close()
    return rows


def newest_job(folder: pathlib.Path):
    jobs = json.loads(run("-c", folder, "materializations", "list", "--limit", "1", "--json"))
    return jobs[0] if jobs else None


def phase_of(job) -> str:
    """Where a killed job stands, as its record tells it."""
    if job is None:
        return "before its job was recorded"
    if job["state"] == "succeeded":
        return "after its end was recorded"
    for each in job["progress"]:
        if not each["done"]:
            return f"{each['view']}: " + ("before a recorded commit" if each["rows"] == 0 else "between commits")
    return "after the last view"


def kill_after(folder: pathlib.Path, delay: float) -> bool:
    """True when the run was killed, false when it was faster."""
    process = subprocess.Popen([PROGRAM, "-c", str(folder), "materialize", *INTERVAL], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        process.communicate(timeout=delay)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode in (SUCCESS, KILLED), process.returncode
    return process.returncode == KILLED


def check_parts(folder: pathlib.Path, clean: dict, job) -> None:
    """What is stored is part of a clean run's rows, and all that the job calls committed is there."""
    now = stored(folder)
    for view, rows in now.items():
        assert set(rows) <= set(clean[view]), f"{view} has rows of its own"
    for each in job["progress"] if job else []:
        assert len(now[each["view"]]) >= each["rows"], (each, len(now[each["view"]]))


def main() -> None:
    seed = int(os.environ.get("GNOMON_SOAK_SEED", random.randrange(1 << 32)))
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    phases = collections.Counter()
    resumed = collections.Counter()
    end = time.monotonic() + SECONDS
    with temporary_folder() as temporary:
        reference = make_repository(temporary / "clean", REGISTRIES[0])
        begin = time.monotonic()
        run("-c", reference, "materialize", *INTERVAL)
        whole = time.monotonic() - begin
        clean = stored(reference)
        assert {view: len(rows) for view, rows in clean.items()} == {"latest": KEYS, "window": KEYS}
        round_number = 0
        while phases.total() < KILLS or time.monotonic() < end:
            folder = make_repository(temporary / f"round{round_number}", REGISTRIES[round_number % 2])
            round_number += 1
            while kill_after(folder, chance.uniform(0, 1.1 * whole)):
                job = newest_job(folder)
                phases[phase_of(job)] += 1
                check_parts(folder, clean, job)
            assert stored(folder) == clean, "the store differs from that of a run that was never disturbed"
            job = newest_job(folder)
            assert job["state"] == "succeeded", job
            resumed[job["resumed"]] += 1
            subprocess.run(["rm", "-r", str(folder)], check=True, timeout=seconds(60))
    for phase, count in sorted(phases.items()):
        print(f"{count:5} killed {phase}")
    for times, count in sorted(resumed.items()):
        print(f"{count:5} stores complete after a job that was taken up {times} times")
    print(f"{phases.total()} kills; every store is that of an undisturbed run")


if __name__ == "__main__":
    main()
