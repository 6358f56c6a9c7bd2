"""Compares two Parquet files as multisets of rows; columns may stand in another order.

usage: compare.py FILE OTHER        prints {"differing_rows": N}
"""

import json
import sys

import duckdb


def main() -> None:
    left, right = sys.argv[1:]
    names = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{right}'").fetchall()]
    columns = ", ".join(f'"{name}"' for name in names)
    differences = [
        f"(SELECT {columns} FROM '{a}' EXCEPT ALL SELECT {columns} FROM '{b}')" for a, b in [(left, right), (right, left)]
    ]
    rows = duckdb.sql(f"SELECT count(*) FROM ({' UNION ALL '.join(differences)})").fetchall()
    print(json.dumps({"differing_rows": rows[0][0]}))


if __name__ == "__main__":
    main()
