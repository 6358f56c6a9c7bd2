#!/usr/bin/env python3
"""Features from PostgreSQL are those from files, bit for bit: postgres_offline.py GNOMON

The sales data of the demo in a table of a real server, read as a table and as a query; entity rows from SQL; what is
materialized; a server that restarts in the middle; and what a user is told who got something wrong.
"""

import io
import json
import os
import pathlib
import random
import subprocess
import time

import pyarrow.csv
import pyarrow.parquet

from program import (DENIED, NOT_FOUND, PROGRAM, SUCCESS, UNAVAILABLE, UNSUPPORTED, USER, fail, run, run_demo, seconds,
                     temporary_folder)
from services import Postgres

STORES, DEPTS, SEED = 30, 20, 11
FEATURES = "sales_features:*,store_conditions:*,sales_trends:*"
END = "2025-01-03T00:00:00Z"
SOURCE = "    type: file\n    path: data/sales.parquet\n"
PARQUET_TO_SQL = {"int64": "int8", "int32": "int4", "double": "float8", "bool": "bool", "string": "text",
                  "date32[day]": "date"}


def sql_type(kind) -> str:
    name = str(kind)
    if name.startswith("timestamp"):
        return "timestamptz" if kind.tz else "timestamp"
    return PARQUET_TO_SQL[name]


def fill(postgres: Postgres, parquet: pathlib.Path) -> None:
    """The file as a table, rows in another order."""
    rows = pyarrow.parquet.read_table(parquet)
    columns = ", ".join(f'"{field.name}" {sql_type(field.type)}' for field in rows.schema)
    postgres.sql(f"CREATE TABLE sales ({columns})")
    order = list(range(rows.num_rows))
    random.Random(SEED).shuffle(order)
    text = io.BytesIO()
    pyarrow.csv.write_csv(rows.take(order), text)
    (postgres.folder / "sales.csv").write_bytes(text.getvalue())
    with open(postgres.folder / "sales.csv") as lines:
        postgres.sql("COPY sales FROM STDIN (FORMAT csv, HEADER)", stdin=lines)


def make_repository(files, folder, source: str, offline_store: str):
    """The repository of files with another source of its sales."""
    folder.mkdir()
    definitions = (files / "features.yaml").read_text()
    assert SOURCE in definitions
    (folder / "features.yaml").write_text(definitions.replace(SOURCE, source))
    store = (files / "feature_store.yaml").read_text()
    assert "offline_store:\n  type: file\n" in store
    (folder / "feature_store.yaml").write_text(
        store.replace("offline_store:\n  type: file\n", f"offline_store: {{{offline_store}}}\n"))
    return folder


def historical(repository, *entities) -> str:
    out = repository / "out.jsonl"
    run("-c", repository, "get-historical-features", "-f", FEATURES, "-o", out, *entities)
    return out.read_text()


def online(repository, keys) -> str:
    run("-c", repository, "materialize", "2024-01-01T00:00:00Z", END)
    answer = run("-c", repository, "get-online-features", "-f", FEATURES, "-e", json.dumps(keys), "--as-of", END,
                 "--json")
    return json.loads(answer)["results"]


def write_entities(path) -> None:
    chance = random.Random(SEED)
    with open(path, "w") as out:
        out.write("store,dept,event_timestamp\n")
        for _ in range(3000):
            day = chance.randrange(1, 366)
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1704067200 + day * 86400 + chance.randrange(86400)))
            out.write(f"{chance.randrange(1, STORES + 2)},{chance.randrange(1, DEPTS + 2)},{moment}\n")


def check_same(files, repositories, postgres) -> None:
    entities = files / "entities.csv"
    write_entities(entities)
    expected = historical(files, "-d", entities)
    assert expected.count("\n") == 3000 and "null" in expected
    with open(entities) as lines:
        postgres.sql("CREATE TABLE labels (n serial, store int8, dept int8, event_timestamp timestamptz)")
        postgres.sql("COPY labels (store, dept, event_timestamp) FROM STDIN (FORMAT csv, HEADER)", stdin=lines)
    keys = [{"store": store, "dept": dept} for store, dept in ((1, 1), (5, 7), (30, 20), (99, 1))]
    served = online(files, keys)
    query = "SELECT store, dept, event_timestamp FROM labels ORDER BY n"
    for repository in repositories:
        assert "create" in run("-c", repository, "apply")
        assert "no changes" in run("-c", repository, "apply")
        assert historical(repository, "-d", entities) == expected, repository
        assert historical(repository, "--entity-query", query) == expected, repository
        assert online(repository, keys) == served, repository


def wait_for(postgres, count: str) -> None:
    """Until a query counts something."""
    end = time.monotonic() + seconds(60)
    while postgres.sql(count).strip() == "0":
        assert time.monotonic() < end, count
        time.sleep(0.02)


def check_restart(files, folder, postgres) -> None:
    """The server restarts while the rows are read: they are read again, and nobody notices."""
    slow = "    type: postgres\n    query: SELECT sales.* FROM sales, (SELECT pg_advisory_lock_shared(7)) AS wait\n"
    repository = make_repository(files, folder, slow, f"type: postgres, {postgres.yaml}")
    run("-c", repository, "apply")
    # The rows wait for a lock, which ends with the server.
    holder = postgres.spawn([*postgres.psql, "-c", "SELECT pg_advisory_lock(7), pg_sleep(1000)"],
                            env={**os.environ, **postgres.environment}, stderr=subprocess.DEVNULL)
    wait_for(postgres, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    out = repository / "out.jsonl"
    command = [PROGRAM, "-c", repository, "get-historical-features", "-f", "store_conditions:*", "-d",
               files / "entities.csv", "-o", out]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    wait_for(postgres, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'advisory'")
    postgres.restart()
    output, _ = process.communicate(timeout=seconds(60))
    holder.wait(seconds(60))
    assert process.returncode == SUCCESS, output
    wanted = [line for line in historical(files, "-d", files / "entities.csv").splitlines()]
    assert len(out.read_text().splitlines()) == len(wanted)


def check_mistakes(files, folder, postgres) -> None:
    def repository(name, source="    type: postgres\n    table: sales\n", store=f"type: postgres, {postgres.yaml}"):
        return make_repository(files, folder / name, source, store)

    folder.mkdir()
    wrong = postgres.yaml.replace(postgres.password, "wrong horse")
    error = fail("-c", repository("password", store=f"type: postgres, {wrong}"), "apply", code=DENIED,
                 says=[f"127.0.0.1:{postgres.port}/{postgres.database}", "password authentication failed", "28P01"])
    assert "wrong horse" not in error
    fail("-c", repository("table", "    type: postgres\n    table: sails\n"), "apply", code=NOT_FOUND,
         says=["data source 'sales'", 'relation "sails" does not exist'])
    fail("-c", repository("query", "    type: postgres\n    query: SELEC * FROM sales\n"), "apply", code=USER,
         says=["data source 'sales'", "syntax error"])
    fail("-c", repository("both", "    type: postgres\n    table: a\n    query: SELECT 1\n"), "apply", code=USER,
         says="exactly one of table and query")
    fail("-c", repository("database", store=f"type: postgres, {postgres.yaml}".replace(
        f"database: {postgres.database}", "database: nowhere")), "apply", code=NOT_FOUND,
         says='database "nowhere" does not exist')
    # A file repository beside a database: the source is asked where PG* says, entity rows are not.
    mixed = repository("mixed", store="type: file")
    environment = dict(os.environ)
    os.environ.update(postgres.environment)
    try:
        run("-c", mixed, "apply")
        fail("-c", mixed, "get-historical-features", "-f", FEATURES, "--entity-query", "SELECT 1", "-o",
             mixed / "out.csv", code=UNSUPPORTED, says="offline_store of type postgres")
    finally:
        os.environ.clear()
        os.environ.update(environment)
    down = repository("down")
    postgres.stop()
    fail("-c", down, "apply", code=UNAVAILABLE, says=[f"127.0.0.1:{postgres.port}", "Connection refused"])
    postgres.start()


with temporary_folder() as folder, Postgres() as postgres:
    files = folder / "files"
    run_demo(files, STORES, DEPTS, SEED)
    fill(postgres, files / "data" / "sales.parquet")
    store = f"type: postgres, {postgres.yaml}"
    table = make_repository(files, folder / "table", "    type: postgres\n    table: public.sales\n", store)
    query = make_repository(files, folder / "query", "    type: postgres\n    query: SELECT * FROM sales;\n", store)
    check_same(files, (table, query), postgres)
    check_restart(files, folder / "slow", postgres)
    check_mistakes(files, folder / "mistakes", postgres)
print("ok")
