#!/usr/bin/env python3
"""Ctrl-C and `kill -9` during `materialize`: a second run completes it, equal to one that was never disturbed.

interruption.py GNOMON. The points where a run is stopped are those that it passes: GNOMON_FAULT=<point>:<pass>:kill is
tried for every named point and every pass until a run is no longer killed. Every case begins with a store that holds
the weeks up to MIDDLE, and materializes up to END.
"""

import json
import pathlib
import shutil
import sqlite3

from program import INTERRUPTED, KILLED, SUCCESS, USER, describe, execute, fail, run, run_demo, temporary_folder

START, MIDDLE, END = "2024-01-01T00:00:00Z", "2024-10-01T00:00:00Z", "2025-01-03T00:00:00Z"
STORES, DEPTS = 4, 3
KEYS = json.dumps([{"store": store, "dept": dept} for store in range(1, STORES + 1) for dept in range(1, DEPTS + 1)])
VIEWS = ("sales_features", "store_conditions")


def fault_points():
    """The program lists its points when it is asked for one that does not exist."""
    error = fail("version", code=USER, says=["GNOMON_FAULT: unknown fault point", "points: "], fault="nothing:1:kill")
    return error.split("points: ")[1].strip().split(", ")


def online_rows(repository: pathlib.Path, view: str):
    """Every row of the view's online table: key, event time, created time, value."""
    # A copy of the three files, so that reading here changes nothing there.
    copy = repository / "copy"
    copy.mkdir()
    for file in (repository / "data").glob("online_store.db*"):
        shutil.copy(file, copy)
    database = sqlite3.connect(copy / "online_store.db")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    (table,) = [name for name in tables if name.endswith("_" + view)]
    select = f'SELECT entity_key, event_ts, created_ts, value FROM "{table}"'
    rows = {key: rest for key, *rest in database.execute(select)}
    database.close()
    shutil.rmtree(copy)
    return rows


def view_status(repository: pathlib.Path):
    """By view: the watermark and the last failed job."""
    views = json.loads(run("-c", repository, "status", "--json"))["views"]
    return {view["view"]: (view["watermark"], view["last_failed_job"]) for view in views}


def answers(repository: pathlib.Path) -> str:
    return run("-c", repository, "get-online-features", "--feature-service", "sales_service", "-e", KEYS, "--as-of",
               END, "--json")


class State:
    """What a repository holds that users can see."""

    def __init__(self, repository: pathlib.Path):
        self.rows = {view: online_rows(repository, view) for view in VIEWS}
        self.status = view_status(repository)
        self.answers = answers(repository)

    def __eq__(self, other) -> bool:
        return (self.rows, self.status, self.answers) == (other.rows, other.status, other.answers)


def check_between(repository: pathlib.Path, before: State, after: State, where: str) -> None:
    """After a stop every view holds its old rows or its new ones, and the new watermark only with the new rows."""
    for view, (watermark, _) in view_status(repository).items():
        rows = online_rows(repository, view)
        assert rows in (before.rows[view], after.rows[view]), f"{where}: {view} is half written"
        assert watermark in (before.status[view][0], after.status[view][0]), (where, watermark)
        if watermark == after.status[view][0]:
            assert rows == after.rows[view], f"{where}: the interval of {view} is published before its rows"


def check_second_run(repository: pathlib.Path, after: State, where: str, *command) -> None:
    run("-c", repository, *command)
    assert State(repository) == after, f"{where}: the second run differs from an undisturbed one"
    leftovers = [path.name for path in repository.rglob("*.tmp")]
    assert len(leftovers) <= 1, leftovers  # a killed process cannot remove the file that it was writing


def check_kills(points, begun: pathlib.Path, before: State, after: State, *command) -> int:
    repository = begun.parent / "killed"
    kills = 0
    for point in points:
        for number in range(1, 1000):
            where = f"{point}:{number}:kill of {command[0]}"
            shutil.copytree(begun, repository)
            result = execute("-c", repository, *command, fault=f"{point}:{number}:kill")
            assert result.returncode in (KILLED, SUCCESS), f"{where}: {describe(command, result)}"
            if result.returncode == KILLED:
                check_between(repository, before, after, where)
                check_second_run(repository, after, where, *command)
            shutil.rmtree(repository)
            if result.returncode == SUCCESS:
                break
            kills += 1
    return kills


def check_interrupts(begun: pathlib.Path, before: State, after: State) -> None:
    repository = begun.parent / "interrupted"
    command = ("materialize", START, END)
    for point in ("materialize.before_write:1", "materialize.after_batch:1", "materialize.before_commit:1",
                  "materialize.after_commit:1", "materialize.before_watermark:1", "materialize.before_write:2",
                  "materialize.after_batch:2", "materialize.before_commit:2", "materialize.after_commit:2",
                  "materialize.before_watermark:2"):
        shutil.copytree(begun, repository)
        error = fail("-c", repository, *command, code=INTERRUPTED, says="cancelled", fault=point + ":interrupt")
        check_between(repository, before, after, point)
        status = run("-c", repository, "status", "--json")
        assert "cancelled" in status, (error, status)
        check_second_run(repository, after, point, *command)
        assert not list(repository.rglob("*.tmp"))
        shutil.rmtree(repository)


with temporary_folder() as temporary:
    sales = temporary / "sales"
    run_demo(sales, STORES, DEPTS, 1)
    begun = temporary / "begun"
    shutil.copytree(sales, begun, ignore=shutil.ignore_patterns("*.db*", "runs", "models", "report.html"))
    run("-c", begun, "apply")
    run("-c", begun, "materialize", START, MIDDLE)
    clean = temporary / "clean"
    shutil.copytree(begun, clean)
    run("-c", clean, "materialize", START, END)
    old, new = State(begun), State(clean)
    assert all(old.rows[view] != new.rows[view] and old.status[view] != new.status[view] for view in VIEWS)
    assert all(failed is None for _, failed in new.status.values()), new.status
    assert all(len(new.rows[view]) == count for view, count in zip(VIEWS, (STORES * DEPTS, STORES)))
    check_interrupts(begun, old, new)
    points = fault_points()
    stops = check_kills(points, begun, old, new, "materialize", START, END)
    assert stops >= 16, stops
    own = [point for point in points if point.startswith("materialize.")]
    stops += check_kills(own, begun, old, new, "materialize-incremental", END)
print(f"materialize was stopped at {stops} places and completed by a second run")
