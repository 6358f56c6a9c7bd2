#!/usr/bin/env python3
"""`materialize` into every store and layout is killed at random moments, again and again, until it has succeeded; the
store is then that of a run that was never disturbed, as sqlite3, psql and redis-cli see it.

materialize_kills.py GNOMON. At least KILLS kills, and as many as fit into GNOMON_SOAK_SECONDS; counted by the phase that the
job's record shows after each. The seed is printed; GNOMON_SOAK_SEED repeats it.
"""

import collections
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from online_dumps import PostgresStore, RedisStore, SqliteStore  # noqa: E402
from program import KILLED, PROGRAM, SUCCESS, run, seconds, temporary_folder  # noqa: E402
from services import Postgres, Redis  # noqa: E402
from trips import INTERVAL, VIEWS, make_repository  # noqa: E402

KILLS = 100
SECONDS = float(os.environ.get("GNOMON_SOAK_SECONDS", "0"))
KEYS = 20_000
COMMIT = 1_000
REGISTRIES = ("data/registry.db", "{registry_type: sql, path: 'sqlite:///data/registry.sqlite'}")


class Place:
    """A store in a layout, and what an undisturbed run leaves there."""

    def __init__(self, temporary: pathlib.Path, store, layout: str):
        self.store, self.layout = store, layout
        self.name = f"{store.name} {layout}"
        reference = self.make_repository(temporary / self.name.replace(" ", "_"), REGISTRIES[0])
        begin = time.monotonic()
        run("-c", reference, "materialize", *INTERVAL)
        self.whole_seconds = time.monotonic() - begin
        self.clean = self.dump(reference)
        assert {view for view, _ in self.clean} == set(VIEWS), set(self.clean)
        assert {len(rows) for rows in self.clean.values()} == {KEYS}, {key: len(rows) for key, rows in self.clean.items()}

    def make_repository(self, folder: pathlib.Path, registry: str) -> pathlib.Path:
        rows = [(day, f"{key},{key % 97 + day}") for day in (1, 3) for key in range(KEYS)]
        return make_repository(folder, self.store, self.layout, COMMIT, rows, registry=registry)

    def dump(self, folder: pathlib.Path) -> dict:
        return self.store.dump(folder, VIEWS)

    def check_parts(self, folder: pathlib.Path, job) -> None:
        """What is stored is part of a clean run's rows, and all that the job calls committed is there."""
        now = self.dump(folder)
        for table, rows in now.items():
            assert rows.items() <= self.clean[table].items(), f"{self.name}: {table} has rows of its own"
        for each in job["progress"] if job else []:
            stored = min((len(rows) for (view, _), rows in now.items() if view == each["view"]), default=0)
            assert stored >= each["rows"], (self.name, each, stored)


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


def complete_once(folder: pathlib.Path, place: Place, chance: random.Random, phases, resumed) -> None:
    """Kills and repeats a run until one succeeds."""
    while kill_after(folder, chance.uniform(0, 1.1 * place.whole_seconds)):
        job = newest_job(folder)
        phases[phase_of(job), place.name] += 1
        place.check_parts(folder, job)
    assert place.dump(folder) == place.clean, f"{place.name}: the store differs from that of an undisturbed run"
    job = newest_job(folder)
    assert job["state"] == "succeeded", job
    resumed[job["resumed"]] += 1


def main() -> None:
    seed = int(os.environ.get("GNOMON_SOAK_SEED", random.randrange(1 << 32)))
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    phases = collections.Counter()
    resumed = collections.Counter()
    end = time.monotonic() + SECONDS
    with temporary_folder() as temporary, Postgres() as postgres, Redis() as redis:
        places = [Place(temporary, store, layout) for layout in ("packed", "feast")
                  for store in (SqliteStore(), PostgresStore(postgres), RedisStore(redis))]
        for number in itertools.count():
            if number % len(places) == 0 and phases.total() >= KILLS and time.monotonic() >= end:
                break
            place = places[number % len(places)]
            folder = place.make_repository(temporary / "round", REGISTRIES[number // len(places) % 2])
            complete_once(folder, place, chance, phases, resumed)
            subprocess.run(["rm", "-r", str(folder)], check=True, timeout=seconds(60))
    for phase in sorted({phase for phase, _ in phases}):
        counts = {place.name: phases[phase, place.name] for place in places if phases[phase, place.name]}
        print(f"{sum(counts.values()):5} killed {phase}:", ", ".join(f"{name} {count}" for name, count in counts.items()))
    for times, count in sorted(resumed.items()):
        print(f"{count:5} stores complete after a job that was taken up {times} times")
    print(f"{phases.total()} kills; every store is that of an undisturbed run")


if __name__ == "__main__":
    main()
