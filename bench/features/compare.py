"""How many results differ from DuckDB's. Prints {"differing": N}.

usage: compare.py windows FOLDER | compare.py latest FOLDER GNOMON
"""

import json
import pathlib
import subprocess
import sys

import data
import duckdb


def windows(folder: pathlib.Path) -> int:
    """Labels for which a value differs by more than rounding: DuckDB adds doubles in the order of its rows."""
    checks = " OR ".join(
        f"(a.{name} IS NULL) <> (b.{name} IS NULL)"
        f" OR abs(a.{name} - b.{name}) > 1e-6 * greatest(1, abs(b.{name}))"
        for _, _, _, name in data.WINDOWS
    )
    rows = duckdb.sql(
        f"SELECT count(*), count(*) FILTER (WHERE {checks}) FROM '{folder}/gnomon.parquet' a"
        f" JOIN '{folder}/windows.parquet' b USING (label_id)"
    ).fetchall()[0]
    labels = duckdb.sql(f"SELECT count(*) FROM '{folder}/labels.parquet'").fetchall()[0][0]
    return rows[1] + abs(labels - rows[0])


def latest(folder: pathlib.Path, gnomon: str) -> int:
    """Of 1,000 customers: what the store answers against DuckDB's newest rows."""
    expected = duckdb.sql(f"SELECT * FROM '{folder}/latest.parquet' ORDER BY hash(customer) LIMIT 1000").fetchall()
    keys = json.dumps([{"customer": row[0]} for row in expected])
    command = [gnomon, "-c", str(folder), "--json", "get-online-features", "-f", "latest:*", "-e", keys]
    reply = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    names = reply["metadata"]["feature_names"]
    columns = {name: result["values"] for name, result in zip(names, reply["results"])}
    got = list(zip(*[columns[f"f{i}"] for i in range(10)]))
    return sum(tuple(row[1:]) != values for row, values in zip(expected, got)) + abs(len(got) - len(expected))


if __name__ == "__main__":
    work, folder, *more = sys.argv[1:]
    print(json.dumps({"differing": {"windows": windows, "latest": latest}[work](pathlib.Path(folder), *more)}))
