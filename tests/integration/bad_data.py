#!/usr/bin/env python3
"""Bad entity files, source files, references and command lines: bad_data.py GNOMON

A retrieval that fails leaves no file behind; what the online store held is still served.
"""

import json
import shutil

from program import (DATA_LOSS, NOT_FOUND, UNSUPPORTED, USER, execute, fail, run, run_demo, temporary_folder)

ROW = "1001,2026-01-01T10:00:00Z\n"
HEAD = "driver_id,event_timestamp\n"

# (what, file name, content or None for no file, exit code, texts of the message)
ENTITY_CASES = [
    ("a missing file", "e.csv", None, NOT_FOUND, ["entity rows: no such file or folder: ", "e.csv"]),
    ("an empty CSV file", "e.csv", b"", DATA_LOSS, ["entity rows: the file is empty (0 bytes): ", "e.csv"]),
    ("an empty Parquet file", "e.parquet", b"", DATA_LOSS, ["entity rows: the file is empty (0 bytes): ", "e.parquet"]),
    ("text that is called Parquet", "e.parquet", b"driver_id,event_timestamp\n" * 9, USER,
     ["entity rows: not a Parquet file: ", "e.parquet"]),
    ("an unknown suffix", "e.xyz", b"x", USER, ["cannot tell the file format from the suffix: ", "e.xyz", ".parquet"]),
    ("no timestamp", "e.csv", b"driver_id\n1001\n", USER,
     ["entity rows have no timestamp column", "e.csv", "add a column event_timestamp"]),
    ("several timestamps", "e.csv", b"driver_id,a,b\n1001,2026-01-01T10:00:00Z,2026-01-02T10:00:00Z\n", USER,
     ["entity rows have several timestamp columns: a, b", "e.csv", "name the one that counts event_timestamp"]),
    ("a timestamp that is none", "e.csv", (HEAD + ROW + "1002,yesterday\n").encode(), USER,
     ["column event_timestamp of the entity rows is no time but string", "e.csv", "2024-01-05T12:30:00Z"]),
    ("no join key", "e.csv", b"driverid,event_timestamp\n1001,2026-01-01T10:00:00Z\n", USER,
     ["entity rows have no column 'driver_id', a join key of feature view 'driver_stats'", "e.csv",
      "columns: driverid, event_timestamp"]),
    ("a join key of another type", "e.csv", (HEAD + ROW + "abc,2026-01-01T10:00:00Z\n").encode(), USER,
     ["join keys driver_id of the entity rows and feature view 'driver_stats'", "int64 with string"]),
    ("a column with the name of a feature", "e.csv", (HEAD[:-1] + ",conv_rate\n" + ROW[:-1] + ",1\n").encode(), USER,
     ["feature 'conv_rate' is also a column of the entity rows", "e.csv", "full feature names"]),
    ("a row with too many cells", "e.csv", (HEAD + ROW[:-1] + ",3\n").encode(), USER,
     ["entity rows: ", "e.csv", "Row #2: Expected 2 columns, got 3"]),
]

# (what, arguments, exit code, texts of the message)
REFERENCE_CASES = [
    ("an unknown feature", ["-f", "driver_stats:conv_rat"], NOT_FOUND,
     ["feature view 'driver_stats' has no feature 'conv_rat'", "did you mean 'conv_rate'?"]),
    ("an unknown view", ["-f", "driver_stat:conv_rate"], NOT_FOUND,
     ["feature view does not exist: 'driver_stat'", "did you mean 'driver_stats'?"]),
    ("a reference without a feature", ["-f", "driver_stats"], USER,
     ["not a feature reference: 'driver_stats'", "view:feature"]),
    ("an unknown service", ["--feature-service", "driver_actvity"], NOT_FOUND,
     ["feature service does not exist: 'driver_actvity'", "did you mean 'driver_activity'?"]),
]

ONLINE_CASES = [
    ("no JSON", '[{"driver_id":', USER, ["not valid JSON"]),
    ("a number", "3", USER, ["expected an object of columns"]),
    ("a list of numbers", "[1]", USER, ["rows"]),
    ("no join key", '[{"driver":1}]', USER, ["entity column is missing: 'driver_id'", "did you mean 'driver'?"]),
    ("a join key of another type", '[{"driver_id":"x"}]', USER, ["column 'driver_id' is Int64", "string to int64"]),
    ("rows of different types", '[{"driver_id":1},{"driver_id":"x"}]', USER, ["driver_id"]),
]

OTHER_CASES = [
    ("a bad timestamp", ["materialize", "yesterday"], USER, ["expected a timestamp, got 'yesterday'", "2024-01-05"]),
    ("an interval that ends first", ["materialize", "2026-01-03", "2026-01-01"], USER, ["start is after end"]),
    ("an unknown view", ["materialize", "2026-01-01", "-v", "driver_stat"], NOT_FOUND,
     ["feature view does not exist: 'driver_stat'", "did you mean 'driver_stats'?"]),
    ("an unknown object", ["entities", "describe", "drivr"], NOT_FOUND,
     ["entity does not exist: 'drivr'", "did you mean 'driver'?"]),
    ("an unknown model", ["predict", "--model", "x", "--json", '[{"driver_id":1}]'], NOT_FOUND, ["'x'"]),
    ("an unknown run", ["runs", "show", "x"], NOT_FOUND, ["'x'"]),
]


def online(repository) -> str:
    return run("-c", repository, "get-online-features", "--feature-service", "driver_activity", "-e",
               '[{"driver_id":1001},{"driver_id":1003}]', "--as-of", "2026-01-02T00:00:00Z", "--json")


def check_entity_files(repository) -> None:
    out = repository / "out.parquet"
    for what, name, content, code, says in ENTITY_CASES:
        file = repository / name
        if content is not None:
            file.write_bytes(content)
        fail("-c", repository, "get-historical-features", "-f", "driver_stats:conv_rate", "-d", file, "-o", out,
             code=code, says=says)
        assert not list(repository.glob("*out.parquet*")), what
        file.unlink(missing_ok=True)
    file = repository / "e.csv"
    file.write_text(HEAD + ROW)
    for name, code, says in (("o.xyz", USER, "cannot tell the file format from the suffix: "),
                             ("", USER, "give --out FILE")):
        arguments = ["-o", repository / name] if name else []
        fail("-c", repository, "get-historical-features", "-f", "driver_stats:conv_rate", "-d", file, *arguments,
             code=code, says=says)
    # A file that stands there stays as it is, whether or not it can be replaced.
    (repository / "taken.parquet").mkdir()
    fail("-c", repository, "get-historical-features", "-f", "driver_stats:conv_rate", "-d", file, "-o",
         repository / "taken.parquet", code=USER, says=["cannot write ", "taken.parquet", "it is a folder"])
    file.unlink()


def check_references(repository) -> None:
    file = repository / "e.csv"
    file.write_text(HEAD + ROW)
    for _, arguments, code, says in REFERENCE_CASES:
        fail("-c", repository, "get-historical-features", *arguments, "-d", file, "-o", repository / "o.csv", code=code,
             says=says)
        fail("-c", repository, "get-online-features", *arguments, "-e", '[{"driver_id":1001}]', code=code, says=says)
    for _, entities, code, says in ONLINE_CASES:
        fail("-c", repository, "get-online-features", "-f", "driver_stats:conv_rate", "-e", entities, code=code,
             says=says)
    for _, arguments, code, says in OTHER_CASES:
        fail("-c", repository, *arguments, code=code, says=says)
    unknown = json.loads(run("-c", repository, "get-online-features", "-f", "driver_stats:conv_rate", "-e",
                             '[{"driver_id":7}]', "--json"))
    assert unknown["results"][1]["statuses"] == ["NOT_FOUND"] and unknown["results"][1]["values"] == [None], unknown
    assert not (repository / "o.csv").exists()


def check_changed_source(repository) -> None:
    """A source that lost a column, changed a type or was cut off after `apply`."""
    source = repository / "data/driver_stats.csv"
    good = source.read_text()
    before = online(repository)
    for text, code, says in (
        (good.replace("conv_rate", "cnv_rate"), NOT_FOUND,
         ["materialize driver_stats: no column 'conv_rate' in data source 'driver_stats_source'", "driver_stats.csv",
          "feature view 'driver_stats'", "did you mean 'cnv_rate'?"]),
        (good.replace("0.52", "much"), USER,
         ["materialize driver_stats: column 'conv_rate' of data source 'driver_stats_source'", "string to double",
          "changed since `gnomon apply`"]),
        ("", DATA_LOSS, ["data source 'driver_stats_source': the file is empty (0 bytes): ", "driver_stats.csv"]),
        (None, NOT_FOUND, ["data source 'driver_stats_source': no such file or folder: ", "driver_stats.csv"]),
    ):
        source.unlink()
        if text is not None:
            source.write_text(text)
        fail("-c", repository, "materialize", "2026-01-01", "2026-02-01", code=code, says=says)
        assert online(repository) == before
        view = json.loads(run("-c", repository, "status", "--json"))["views"][0]
        assert says[0].removeprefix("materialize driver_stats: ") in view["last_failed_job"], view
        source.write_text(good)
    run("-c", repository, "materialize", "2026-01-01", "2026-02-01")
    assert json.loads(run("-c", repository, "status", "--json"))["views"][0]["last_failed_job"] is None


def check_damaged_state(repository) -> None:
    """Files of the repository's own that were overwritten are told, not repaired by losing them."""
    for name, says in (("registry.db", ["registry ", "data/registry.db", "restore the file from a backup"]),
                       ("online_store.db", ["online store: ", "data/online_store.db", "not a database"])):
        file = repository / "data" / name
        good = file.read_bytes()
        file.write_bytes(b"garbage " * 200)
        fail("-c", repository, "materialize", "2026-01-01", "2026-02-01", code=DATA_LOSS, says=says)
        assert file.read_bytes() == b"garbage " * 200, name
        file.write_bytes(good)


def check_parquet_source(sales) -> None:
    source = sales / "data/sales.parquet"
    good = source.read_bytes()
    out = sales / "out.parquet"
    retrieve = ["-c", sales, "get-historical-features", "-d", sales / "data/labels.parquet", "--feature-service",
                "sales_service", "-o", out]
    damaged = bytearray(good)
    damaged[200:1200] = bytes(1000)  # within the first column's pages
    for content, code in ((good[:len(good) // 2], DATA_LOSS), (good[:-1], DATA_LOSS), (good[:3], USER),
                          (b"no Parquet " * 99, USER), (bytes(damaged), DATA_LOSS)):
        source.write_bytes(content)
        fail(*retrieve, code=code, says=["data source 'sales': ", "sales.parquet"])
        fail("-c", sales, "materialize", "2024-01-01", "2025-01-03", code=code,
             says=["materialize sales_features: data source 'sales': ", "sales.parquet"])
        assert not out.exists()
    source.write_bytes(good)
    run(*retrieve)
    # The same bytes cut off in an entity file.
    entities = sales / "e.parquet"
    entities.write_bytes(out.read_bytes()[:-9])
    fail("-c", sales, "get-historical-features", "-d", entities, "-f", "store_conditions:cpi", "-o", sales / "o.csv",
         code=DATA_LOSS, says=["entity rows: ", "e.parquet", "Parquet"])
    fail(*retrieve[:-1], sales / "nested.csv", code=UNSUPPORTED,
         says="a nested column cannot be written to CSV: 'recent_sales'")


def check_command_line(repository) -> None:
    for arguments, says in ((["materialise"], "did you mean 'materialize'?"), (["runs", "lst"], "did you mean 'list'?"),
                            (["materialize", "2026-01-01", "--view", "x"], "--view"), (["apply", "-z"], "-z"),
                            (["train"], "required"), (["--log-level", "loud", "version"], "loud")):
        result = execute("-c", repository, *arguments)
        assert result.returncode == USER and says in result.stderr, (arguments, result)


with temporary_folder() as temporary:
    minimal = temporary / "minimal"
    run("init", minimal, "--template", "minimal")
    fail("-c", minimal, "get-online-features", "-f", "driver_stats:conv_rate", "-e", '[{"driver_id":7}]',
         code=NOT_FOUND, says=["feature view does not exist: 'driver_stats'", "run: gnomon apply"])
    fail("-c", minimal, "materialize", "2026-01-01", code=USER, says=["no online feature view", "run: gnomon apply"])
    run("-c", minimal, "apply")
    run("-c", minimal, "materialize", "2026-01-01", "2026-02-01")
    check_entity_files(minimal)
    check_references(minimal)
    check_command_line(minimal)
    check_changed_source(minimal)
    check_damaged_state(minimal)
    shutil.rmtree(minimal)
    sales = temporary / "sales"
    run_demo(sales, 6, 5, 1)
    check_parquet_source(sales)
print("bad data are told")
