#!/usr/bin/env python3
"""Writes the binary inputs of the corpus again: .venv/bin/python fuzz/make_corpus.py GNOMON

Text inputs are written by hand; inputs that a fuzzer found are kept as they are.
"""

import datetime
import decimal
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz/corpus"
GNOMON = sys.argv[1]
NOON = datetime.datetime(2024, 1, 5, 12)

PLAN = r"""
format_version: 1 writer: "gnomon" num_nodes: 5
nodes { table { stream: "%s" } }
nodes { inputs: 0 filter { predicate: "i > 1 and s is not null" } }
nodes { inputs: 1 derive { expressions { name: "half" expression: "i / 2" } } }
nodes { inputs: 2 inputs: 0 join { type: "left" left_keys: "i" right_suffix: "_r" } }
nodes { inputs: 3 sort { keys { column: "i" descending: true } limit: 3 } }
"""
RANGES = """
format_version: 1 writer: "gnomon" num_nodes: 6
nodes { range { begin: 0 end: 10 step: 3 name: "id" } }
nodes { inputs: 0 project { expressions { name: "id" expression: "id" } expressions { name: "x" expression: "id * 2" } } }
nodes { inputs: 1 aggregate { keys: "id" items { function: "sum" column: "x" name: "total" } items { function: "count" } } }
nodes { inputs: 2 sample { fraction: 0.5 seed: 7 } }
nodes { inputs: 3 repartition { num_partitions: 4 keys: "id" } }
nodes { inputs: 4 limit { limit: 2 offset: 1 } }
"""


def columns(types) -> pa.Table:
    values = {"i": [1, None, -(2**31)], "s": ["a", None, "Grüße"], "b": [True, None, False], "x": [0.5, None, float("nan")],
              "t": [NOON, None, datetime.datetime(1969, 12, 31)], "d": [decimal.Decimal("1.25"), None, decimal.Decimal("-9")],
              "l": [[1, None], None, []], "r": [{"p": 1, "q": "x"}, None, {"p": None, "q": ""}], "k": ["u", None, "u"]}
    return pa.table({name: pa.array(values[name], type_) for name, type_ in types.items()})


ALL = {"i": pa.int32(), "s": pa.string(), "b": pa.bool_(), "x": pa.float64(), "t": pa.timestamp("us", "UTC"),
       "d": pa.decimal128(9, 2), "l": pa.list_(pa.int64()), "r": pa.struct([("p", pa.int8()), ("q", pa.string())]),
       "k": pa.dictionary(pa.int32(), pa.string())}


def write_files(folder: pathlib.Path) -> None:
    plain = {name: ALL[name] for name in ("i", "s", "x", "t")}
    pq.write_table(columns(plain), folder / "plain.parquet", compression="none", use_dictionary=False, store_schema=False)
    pq.write_table(columns(ALL), folder / "all.parquet", compression="snappy", row_group_size=2)
    pq.write_table(columns(plain), folder / "pages.parquet", data_page_version="2.0", compression="gzip", write_page_index=True,
                   column_encoding={"i": "DELTA_BINARY_PACKED", "s": "DELTA_BYTE_ARRAY"}, use_dictionary=False)
    for name, types, compression in (("plain", plain, None), ("all", ALL, None), ("lz4", plain, "lz4")):
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with pa.ipc.new_file(folder / f"{name}.arrow", columns(types).schema, options=options) as writer:
            writer.write_table(columns(types), 2)
    with pa.ipc.new_stream(folder / "stream.arrow", columns(ALL).schema) as writer:
        writer.write_table(columns(ALL))


def encode(proto: str, message: str, text: str) -> bytes:
    return subprocess.run(["protoc", f"-I{ROOT / 'src/proto'}", f"--encode=gnomon.proto.{message}", f"gnomon/{proto}.proto"],
                          input=text.encode(), check=True, capture_output=True).stdout


def quoted(data: bytes) -> str:
    return "".join(f"\\{byte:03o}" for byte in data)


def write_plans(folder: pathlib.Path) -> None:
    sink = pa.BufferOutputStream()
    table = columns({"i": pa.int64(), "s": pa.string()})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / "table.bin").write_bytes(encode("plan", "DatasetPlan", PLAN % quoted(sink.getvalue().to_pybytes())))
    (folder / "range.bin").write_bytes(encode("plan", "DatasetPlan", RANGES))


def write_registry(folder: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        repository = pathlib.Path(temporary, "drivers")
        for arguments in (["init", repository, "--template", "minimal"], ["-c", repository, "apply"],
                          ["-c", repository, "materialize", "2026-01-01", "2026-02-01"]):
            subprocess.run([GNOMON, *arguments], check=True, capture_output=True)
        registry = (repository / "data/registry.db").read_bytes()
        payload = (repository / "data/registry.db.gnomon").read_bytes()[76:]
    (folder / "drivers.bin").write_bytes(struct.pack("<H", len(payload)) + payload + registry)


def write_rows(folder: pathlib.Path) -> None:
    """Packed rows of the schema of packed_row_fuzz.cc: docs/formats/packed_row.md."""
    def sized(data: bytes) -> bytes:
        return struct.pack("<I", len(data)) + data

    fixed = struct.pack("<q?dHq16s", 1001, True, 4.5, 7, 1704457800000000, (125).to_bytes(16, "little"))
    texts = struct.pack("<IB", 3, 0b010) + sized(b"a") + sized(b"") + sized("é".encode())
    numbers = struct.pack("<IBff", 2, 0, 0.5, -1)
    flags = struct.pack("<IB3s", 3, 0b100, bytes([1, 0, 0]))
    (folder / "full.bin").write_bytes(
        struct.pack("<BH", 1, 0) + fixed + b"".join(map(sized, (b"Oslo", b"\xff\0", flags, texts, numbers))))
    (folder / "nulls.bin").write_bytes(struct.pack("<BH", 1, 0x7FF) + bytes(43) + bytes(4) * 5)


def write_messages(folder: pathlib.Path) -> None:
    messages = {
        "task": ("TaskMessage", 'job: "j" stage: "scan" function: "f" fragment: "\\000\\377" partition: 3 num_partitions: 8 '
                 'attempt: 2 num_outputs: 5 inputs { blocks { node: 1 id: 2 rows: 3 bytes: 4 spilled: true } } inputs {} '
                 'resources { cpus: 1.5 memory_bytes: 77 custom { key: "disk" value: 2 } } argument: "a"'),
        "outcome": ("OutcomeMessage", 'task: 9 outputs { blocks { node: 1 id: 2 rows: 3 bytes: 4 } } commit_token: "t"'),
        "lost": ("OutcomeMessage", 'task: 1 lost: true error { kind: "unavailable" retryable: true message: "gone" hint: "h" }'),
        "error": ("ErrorMessage", 'kind: "user" message: "bad" file: "a.csv" line: 1 column: 2 row: 3 hint: "do this"'),
    }
    for name, (message, text) in messages.items():
        (folder / f"{name}.bin").write_bytes(encode("runtime", message, text))


def write_keys(folder: pathlib.Path) -> None:
    """Keys as Feast writes them."""
    for case in json.loads((ROOT / "tests/golden/entity_key.json").read_text())["cases"]:
        for version in ("v2", "v3"):
            (folder / f"{case['name']}.{version}").write_bytes(bytes.fromhex(case[version]))


for name in ("entity_key", "file_scan", "plan", "registry", "journal", "packed_row", "worker_message"):
    (CORPUS / name).mkdir(exist_ok=True)
write_keys(CORPUS / "entity_key")
write_files(CORPUS / "file_scan")
write_plans(CORPUS / "plan")
write_rows(CORPUS / "packed_row")
write_messages(CORPUS / "worker_message")
write_registry(CORPUS / "registry")
shutil.copy(ROOT / "tests/golden/journal/v1.journal", CORPUS / "journal/v1.journal")
