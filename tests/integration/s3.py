#!/usr/bin/env python3
"""Files on S3 as a user has them, with moto as the service: s3.py GNOMON

What is read from and written to s3:// is byte for byte what local files give; objects appear whole or not at all;
services that throttle, fail and hang up are borne with; what cannot be borne is told with its kind.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from program import (CONFLICT, DENIED, INTERRUPTED, KILLED, NOT_FOUND, PROGRAM, SUCCESS, UNAVAILABLE, UNSUPPORTED, USER, Server, describe,
                     execute, fail, run, seconds, temporary_folder)
from s3_proxy import FaultProxy, answer, before, cut, hang, internal_error, throttle
from services import S3, free_port

SECRET = "a-secret-that-nobody-may-see"
ROWS, GROUP = 240_000, 60_000
PART = 8 << 20  # a part of an upload, at least


@contextlib.contextmanager
def environment(**values):
    """Variables for what is run in the scope; all of AWS and MinIO are gone but those."""
    kept = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("AWS_", "MINIO_")):
            del os.environ[name]
    os.environ.update({"AWS_EC2_METADATA_DISABLED": "true", **values})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def at(endpoint: str, **more):
    return environment(**{"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": SECRET,
                          "AWS_REGION": "us-east-1", **more})


def upload(s3: S3, key: str, path: pathlib.Path) -> str:
    s3.put(key, path.read_bytes())
    return f"s3://{s3.bucket}/{key}"


def keys(s3: S3, prefix: str) -> list[str]:
    listing = s3.request("GET", f"{s3.bucket}?list-type=2&prefix={prefix}").decode()
    return re.findall(r"<Key>([^<]+)</Key>", listing)


def open_uploads(s3: S3) -> list[str]:
    return re.findall(r"<UploadId>", s3.request("GET", f"{s3.bucket}?uploads").decode())


def edit(path: pathlib.Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, (old, text)
    path.write_text(text.replace(old, new))


# --- what works ---

def repository(folder: pathlib.Path) -> pathlib.Path:
    """The minimal template, with its source as a folder of Parquet files."""
    run("init", folder)
    stats = pa.csv.read_csv(folder / "data/driver_stats.csv")
    (folder / "data/stats/day=1").mkdir(parents=True)
    (folder / "data/stats/day=2").mkdir()
    pq.write_table(stats.slice(0, 2), folder / "data/stats/day=1/part 1%20.parquet")
    pq.write_table(stats.slice(2), folder / "data/stats/day=2/part.parquet")
    (folder / "data/stats/_SUCCESS").write_text("no data")
    edit(folder / "features.yaml", "data/driver_stats.csv", "data/stats")
    run("-c", folder, "apply")
    return folder


def upload_folder(s3: S3, folder: pathlib.Path, prefix: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            s3.put(f"{prefix}/{path.relative_to(folder)}".replace("%", "%25").replace(" ", "%20"), path.read_bytes())


def retrieve(repo, entities, out, *more) -> list:
    return ["-c", repo, "get-historical-features", "--feature-service", "driver_activity", "-d", entities, "-o", out, *more]


def check_repository(s3: S3, folder: pathlib.Path) -> None:
    local = repository(folder / "local")
    entities = local / "data/trips.csv"
    run(*retrieve(local, entities, folder / "local.parquet"))
    expected = (folder / "local.parquet").read_bytes()
    upload_folder(s3, local / "data/stats", "repo/stats")
    trips = upload(s3, "repo/trips.csv", entities)
    remote = folder / "remote"
    for source in ("stats", "stats/", "stats/day=*/*.parquet", "stats/day=*"):
        run("init", folder / "made")
        (folder / "made").rename(remote)
        edit(remote / "features.yaml", "data/driver_stats.csv", f"s3://{s3.bucket}/repo/{source}")
        run("-c", remote, "apply")
        assert "no changes" in run("-c", remote, "apply")
        run(*retrieve(remote, trips, f"s3://{s3.bucket}/repo/out.parquet"))
        assert s3.get("repo/out.parquet") == expected, source
        if source != "stats/day=*":
            (remote).rename(folder / f"done {len(list(folder.iterdir()))}")
    for name in ("local", "remote"):
        run("-c", folder / name, "materialize", "2020-01-01", "2030-01-01")
    online = ["get-online-features", "--feature-service", "driver_activity", "--entities", '[{"driver_id": 1001}]']
    assert run("-c", remote, *online) == run("-c", local, *online)
    check_saved_dataset(s3, remote, trips)
    assert SECRET not in run("-c", remote, "registry-dump")
    edit(remote / "features.yaml", f"s3://{s3.bucket}/repo/stats/day=*", f"s3://{s3.bucket}/repo/stats")
    run("-c", remote, "apply")
    check_push(s3, remote)


def check_saved_dataset(s3: S3, remote: pathlib.Path, trips: str) -> None:
    out = f"s3://{s3.bucket}/repo/saved.parquet"
    run(*retrieve(remote, trips, out, "--save-as", "may"))
    assert out in run("-c", remote, "saved-datasets", "describe", "may")
    run("-c", remote, "saved-datasets", "verify", "may")
    s3.put("repo/saved.parquet", s3.get("repo/stats/day=2/part.parquet"))
    fail("-c", remote, "saved-datasets", "verify", "may", code=9, says=["is not what was saved", out])


def check_push(s3: S3, remote: pathlib.Path) -> None:
    """Rows are added to a folder, and to that of their partition, which they must name."""
    before_push = keys(s3, "repo/stats/")
    row = {"driver_id": [1001], "event_timestamp": ["2026-01-05T00:00:00Z"], "created": ["2026-01-05T00:00:00Z"],
           "conv_rate": [0.25], "acc_rate": [0.5], "avg_daily_trips": [7]}
    push = {"push_source_name": "driver_stats", "df": row, "to": "offline"}
    with Server(remote, "serve") as server:
        status, told = server.post("/push", push)
        assert status == 400 and "have no column 'day'" in json.dumps(told), (status, told)
        assert keys(s3, "repo/stats/") == before_push
        status, told = server.post("/push", push | {"df": row | {"day": [3]}})
        assert status == 200, told
    (added,) = set(keys(s3, "repo/stats/")) - set(before_push)
    assert added.startswith("repo/stats/day=3/pushed-"), added
    before_push = keys(s3, "repo/stats/")
    edit(remote / "features.yaml", f"s3://{s3.bucket}/repo/stats", f"s3://{s3.bucket}/repo/stats/day=2")
    run("-c", remote, "apply")
    with Server(remote, "serve") as server:
        status, told = server.post("/push", push)
        assert status == 200, told
    added = set(keys(s3, "repo/stats/")) - set(before_push)
    assert len(added) == 1 and added.pop().startswith("repo/stats/day=2/pushed-"), added
    run("-c", remote, "get-historical-features", "-f", "driver_stats:conv_rate", "--start", "2026-01-05", "--end",
        "2026-01-05", "-o", f"s3://{s3.bucket}/repo/range.csv")
    assert b"0.25" in s3.get("repo/range.csv")


def sensor_table() -> pa.Table:
    """Rows that do not compress, so that an upload has several parts."""
    numbers = [(i * 2654435761) % 2**31 for i in range(ROWS)]
    columns = {f"v{c}": pa.array([float((n * (c + 3)) % 1000003) / 7 for n in numbers]) for c in range(8)}
    return pa.table({"key": pa.array([n % 5000 for n in numbers]),
                     "ts": pa.array([n * 1000 for n in range(ROWS)], pa.timestamp("us", "UTC")), **columns})


def asof(left, right, out, *more) -> list:
    return ["asof", "--left", left, "--right", right, "--by", "key", "--on", "ts", "--out", out, *more]


def check_formats(s3: S3, folder: pathlib.Path) -> None:
    """Left, right and result in each format, each from its own place."""
    table = sensor_table()
    pq.write_table(table, folder / "right.parquet", row_group_size=GROUP)
    pq.write_table(table.select(["key", "ts"]).slice(1000, 5000), folder / "left.parquet")
    right = upload(s3, "f/right.parquet", folder / "right.parquet")
    upload(s3, "f/left.parquet", folder / "left.parquet")
    for suffix in ("csv", "csv.gz", "jsonl", "arrow", "parquet"):
        local = folder / f"out.{suffix}"
        run(*asof(folder / "left.parquet", folder / "right.parquet", local, "--features", "v0,v5"))
        run(*asof(f"s3://{s3.bucket}/f/left.parquet", right, f"s3://{s3.bucket}/f/out.{suffix}", "--features", "v0,v5"))
        assert s3.get(f"f/out.{suffix}") == local.read_bytes(), suffix
        # What was written is read again.
        run(*asof(f"s3://{s3.bucket}/f/out.{suffix}", right, folder / "again.csv", "--features", "v1"))
        run(*asof(local, folder / "right.parquet", folder / "expected.csv", "--features", "v1"))
        assert (folder / "again.csv").read_bytes() == (folder / "expected.csv").read_bytes(), suffix
    for settings in (["--set", "broadcast_join_threshold_mb=0"], ["--memory-limit", "64MiB"]):
        run(*asof(folder / "left.parquet", right, folder / "again.csv", "--features", "v0,v5", *settings))
        assert (folder / "again.csv").read_bytes() == (folder / "out.csv").read_bytes(), settings


def check_requests(s3: S3, proxy: FaultProxy, folder: pathlib.Path) -> None:
    """Two of ten columns are not read as the whole file, nor in many small pieces."""
    size = (folder / "right.parquet").stat().st_size
    run(*asof(folder / "left.parquet", f"s3://{s3.bucket}/f/right.parquet", folder / "again.csv", "--features", "v0"))
    reads = [request for request in proxy.requests if request.method == "GET" and "list-type" not in request.path]
    spans = [re.search(r"bytes=(\d+)-(\d+)", request.headers.get("range", "")) for request in reads]
    total = sum(int(span.group(2)) - int(span.group(1)) + 1 for span in spans)
    groups = ROWS // GROUP
    assert total < 0.75 * size, (total, size)
    assert len(reads) <= 6 * groups, [(request.path, request.headers.get("range")) for request in reads]
    assert all("?" not in request.path or "list-type" in request.path for request in proxy.requests)


# --- what fails ---

def check_recovery(s3: S3, proxy: FaultProxy, folder: pathlib.Path) -> None:
    right = f"s3://{s3.bucket}/f/right.parquet"
    arguments = asof(folder / "left.parquet", right, folder / "again.csv", "--features", "v0,v5")
    for name, act, times in (("throttled", throttle, 3), ("500", internal_error, 2), ("cut", cut, 2)):
        proxy.reset()
        proxy.fail("GET", r"/f/right\.parquet$", act, times)
        run(*arguments)
        assert proxy.left() == 0, name
        assert (folder / "again.csv").read_bytes() == (folder / "out.csv").read_bytes(), name
    proxy.reset()
    proxy.fail("GET", r"list-type", throttle, 2)
    proxy.fail("HEAD", r"/f/", internal_error, 2)
    run(*asof(folder / "left.parquet", f"s3://{s3.bucket}/f/right*.parquet", folder / "again.csv", "--features", "v0,v5"))
    assert proxy.left() == 0
    for name, act in (("throttled", throttle), ("cut", cut)):
        proxy.reset()
        proxy.fail("PUT", r"/f/big\.parquet\?.*partNumber=", act, 2)
        run(*asof(folder / "right.parquet", folder / "right.parquet", f"s3://{s3.bucket}/f/big.parquet",
                  "--full-feature-names"))
        assert proxy.left() == 0, name
        run(*asof(folder / "right.parquet", folder / "right.parquet", folder / "big.parquet", "--full-feature-names"))
        assert (folder / "big.parquet").stat().st_size > 2 * PART
        assert s3.get("f/big.parquet") == (folder / "big.parquet").read_bytes(), name
    proxy.reset()


def check_lost(s3: S3, proxy: FaultProxy, folder: pathlib.Path) -> None:
    """The service does not recover: a kind, the path, what to do; never the client's dump."""
    right = f"s3://{s3.bucket}/f/right.parquet"
    arguments = asof(folder / "left.parquet", right, folder / "none.csv", "--features", "v0")
    cases = [
        (throttle, UNAVAILABLE, ["does not answer", "AWS_MAX_ATTEMPTS"]),
        (internal_error, UNAVAILABLE, ["does not answer"]),
        (cut, UNAVAILABLE, ["right.parquet"]),
        (answer(403, "AccessDenied", "Access Denied"), DENIED, ["access to", "is refused", "policy"]),
        (answer(403, "InvalidAccessKeyId", "no such key"), DENIED, ["credentials", "not accepted", "AWS_ACCESS_KEY_ID"]),
        (answer(403, "SignatureDoesNotMatch", "no match"), DENIED, ["credentials", "not accepted"]),
        (answer(400, "ExpiredToken", "The token has expired"), DENIED, ["not accepted", "ExpiredToken"]),
        (answer(301, "PermanentRedirect", "elsewhere"), USER, ["another region", "AWS_REGION"]),
    ]
    with at(proxy.endpoint, AWS_MAX_ATTEMPTS="2"):
        for act, code, says in cases:
            for methods in (["GET"], ["GET", "HEAD"]) if act is not cut else (["GET"],):
                proxy.reset()
                for method in methods:
                    proxy.fail(method, "" if len(methods) == 2 else r"/f/right\.parquet$", act)
                error = fail(*arguments, code=code, says=[f"s3://{s3.bucket}/f/right.parquet", *says])
                for dump in ("AWS Error", "Request ID", "curlCode", SECRET):
                    assert dump not in error, error
        proxy.reset()
        proxy.fail("PUT", r"partNumber=", internal_error)
        fail(*asof(folder / "right.parquet", folder / "right.parquet", f"s3://{s3.bucket}/f/lost.parquet",
                   "--full-feature-names"), code=UNAVAILABLE, says=["f/lost.parquet", "does not answer"])
    proxy.reset()
    assert not keys(s3, "f/lost") and not open_uploads(s3)
    assert not (folder / "none.csv").exists()


def check_interrupt(s3: S3, proxy: FaultProxy, folder: pathlib.Path) -> None:
    """Ctrl-C ends a command at once though the service says nothing: as cancelled, with nothing half-written."""
    left, right, none = folder / "left.parquet", f"s3://{s3.bucket}/f/right.parquet", folder / "none.csv"
    small = ["--features", "v0"]
    cases = [
        ("open", "HEAD", r"/f/right\.parquet", asof(left, right, none, *small)),
        ("read", "GET", r"/f/right\.parquet$", asof(left, right, none, *small)),
        ("read CSV", "GET", r"/f/out\.csv$", asof(left, f"s3://{s3.bucket}/f/out.csv", none, *small)),
        ("list", "GET", r"list-type", asof(left, f"s3://{s3.bucket}/f/ri*.parquet", none, *small)),
        ("write", "PUT", r"/f/hung", asof(left, folder / "right.parquet", f"s3://{s3.bucket}/f/hung.csv", *small)),
        ("begin to write parts", "POST", r"/f/hung.*uploads",
         asof(folder / "right.parquet", folder / "right.parquet", f"s3://{s3.bucket}/f/hung.parquet", "--full-feature-names")),
        ("write parts", "PUT", r"/f/hung.*partNumber",
         asof(folder / "right.parquet", folder / "right.parquet", f"s3://{s3.bucket}/f/hung.parquet", "--full-feature-names")),
    ]
    for name, method, path, arguments in cases:
        proxy.reset()
        proxy.fail(method, path, hang)
        untouched = proxy.left()
        command = [PROGRAM, *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                deadline = time.monotonic() + seconds(20)
                while proxy.left() == untouched and process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert proxy.left() < untouched, name
                time.sleep(0.1)
                began = time.monotonic()
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=seconds(30))
                took = time.monotonic() - began
            finally:
                process.kill()
        assert process.returncode == INTERRUPTED and "cancelled" in errors, (name, process.returncode, output, errors)
        assert took < seconds(3), (name, took)
    proxy.reset()
    assert not none.exists() and not keys(s3, "f/hung")


def check_change(s3: S3, proxy: FaultProxy, folder: pathlib.Path) -> None:
    """An object that is replaced or removed while it is read."""
    other = (folder / "left.parquet").read_bytes()
    for suffix in ("parquet", "csv", "jsonl", "arrow"):
        body = (folder / ("right.parquet" if suffix == "parquet" else f"out.{suffix}")).read_bytes()
        for change, codes in ((lambda: s3.put(f"f/changing.{suffix}", other), [CONFLICT]),
                              (lambda: s3.request("DELETE", f"{s3.bucket}/f/changing.{suffix}"), [CONFLICT, NOT_FOUND])):
            proxy.reset()
            s3.put(f"f/changing.{suffix}", body)
            # The first read of the rows: for Parquet the footer comes before.
            seen = []

            def once():
                seen.append(1)
                if len(seen) == (2 if suffix == "parquet" else 1):
                    change()
            proxy.fail("GET", rf"/f/changing\.{suffix}$", before(once))
            result = execute(*asof(folder / "left.parquet", f"s3://{s3.bucket}/f/changing.{suffix}", folder / "none.csv",
                                   "--features", "v0"))
            assert result.returncode in codes, describe([suffix], result)
            assert f"f/changing.{suffix}" in result.stderr and not (folder / "none.csv").exists(), result.stderr
    proxy.reset()


def check_kill(s3: S3, folder: pathlib.Path) -> None:
    """A writer that dies leaves no object; one that fails leaves no upload either."""
    out = f"s3://{s3.bucket}/f/killed.parquet"
    arguments = asof(folder / "right.parquet", folder / "right.parquet", out, "--full-feature-names")
    for fault, code in (("file.write:1:error", UNAVAILABLE), ("file.write:3:error", UNAVAILABLE),
                        ("file.write:1:kill", KILLED), ("file.write:3:kill", KILLED)):
        assert not open_uploads(s3), fault
        result = execute(*arguments, fault=fault)
        assert result.returncode == code, describe([fault], result)
        assert not keys(s3, "f/killed"), fault
    s3.put("f/killed.parquet", b"what stood here before")
    assert execute(*arguments, fault="file.write:2:error").returncode == UNAVAILABLE
    assert s3.get("f/killed.parquet") == b"what stood here before"


def check_wrong_addresses(s3: S3, folder: pathlib.Path) -> None:
    left, out = folder / "left.parquet", folder / "none.csv"
    right = f"s3://{s3.bucket}/f/right.parquet"
    fail(*asof(left, "s3://no-such-bucket/x.parquet", out), code=NOT_FOUND, says=["no such bucket", "s3://no-such-bucket"])
    fail(*asof(left, f"s3://{s3.bucket}/nothing.parquet", out), code=NOT_FOUND, says=["no such object", "nothing.parquet"])
    fail(*asof(left, f"s3://{s3.bucket}/f/no*.parquet", out), code=NOT_FOUND, says=["no such object", "no*.parquet"])
    fail(*asof(left, right, "s3://no-such-bucket/x.csv"), code=NOT_FOUND, says=["no such bucket", "x.csv"])
    fail(*asof(left, "s3://", out), code=USER, says="names no bucket")
    fail(*asof(left, "s3a://b/x.parquet", out), code=UNSUPPORTED, says=["s3a://", "write s3://"])
    with at(f"http://127.0.0.1:{free_port()}", AWS_MAX_ATTEMPTS="2"):
        fail(*asof(left, right, out), code=UNAVAILABLE, says=["cannot be reached", right, "endpoint"])
    with at("ftp://somewhere"):
        fail(*asof(left, right, out), code=USER, says=["not an S3 endpoint", "ftp://somewhere"])
    with at(s3.endpoint, AWS_SECRET_ACCESS_KEY=""):
        fail(*asof(left, right, out), code=USER, says="AWS_SECRET_ACCESS_KEY is not set")
    with environment(AWS_ENDPOINT_URL=s3.endpoint, HOME=str(folder)):
        fail(*asof(left, right, out), code=DENIED, says=["there are no credentials", "~/.aws/credentials"])
    with at(s3.endpoint, GNOMON_S3_LIBRARY="/nowhere/libgnomon_s3.so"):
        fail(*asof(left, right, out), code=UNAVAILABLE, says=["libgnomon_s3.so", "/nowhere"])


def check_credentials(s3: S3, proxy: FaultProxy, folder: pathlib.Path) -> None:
    """Which keys sign a request: those of the YAML, else AWS_*, else MINIO_*, else of the profile."""
    profile = folder / "credentials"
    profile.write_text(f"[default]\naws_access_key_id = of-profile\naws_secret_access_key = {SECRET}\n"
                       f"[other]\naws_access_key_id = of-other\naws_secret_access_key = {SECRET}\n")
    repo = folder / "credentials-repository"
    run("init", repo)
    upload(s3, "c/driver_stats.csv", repo / "data/driver_stats.csv")
    edit(repo / "features.yaml", "data/driver_stats.csv", f"s3://{s3.bucket}/c/driver_stats.csv")
    settings = (repo / "feature_store.yaml").read_text()
    yaml = f"s3: {{access_key_id: of-yaml, secret_access_key: {SECRET}, endpoint_url: '{proxy.endpoint}'}}\n"
    aws = {"AWS_ACCESS_KEY_ID": "of-aws", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": proxy.endpoint}
    minio = {"MINIO_ACCESS_KEY": "of-minio", "MINIO_SECRET_KEY": SECRET, "MINIO_ENDPOINT": proxy.endpoint}
    shared = {"AWS_SHARED_CREDENTIALS_FILE": str(profile)}
    wrong = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    cases = [("of-yaml", yaml, {**aws, **wrong}), ("of-aws", "", {**minio, **aws}), ("of-minio", "", {**shared, **minio}),
             ("of-profile", "", {**shared, "MINIO_ENDPOINT": proxy.endpoint}),
             ("of-other", f"s3: {{endpoint_override: '127.0.0.1:{proxy.port}', scheme: http}}\n",
              {**shared, "AWS_PROFILE": "other"}),
             ("", f"s3: {{anonymous: true, endpoint_url: '{proxy.endpoint}'}}\n", aws)]
    for expected, section, variables in cases:
        proxy.reset()
        (repo / "feature_store.yaml").write_text(settings + section)
        with environment(**variables):
            result = execute("-c", repo, "validate", "--log-level", "debug")
        # moto refuses unsigned requests; what counts is that it was not signed.
        assert result.returncode == SUCCESS or expected == "", describe([expected], result)
        assert {request.key_id for request in proxy.requests} == {expected}, (expected, result)
        assert SECRET not in result.stdout + result.stderr, expected
    (repo / "feature_store.yaml").write_text(settings)
    edit(repo / "features.yaml", "    type: file\n", f"    type: file\n    s3_endpoint_override: {proxy.endpoint}\n")
    proxy.reset()
    with environment(**{**aws, **wrong}):
        run("-c", repo, "apply")
        assert proxy.endpoint in json.dumps(json.loads(run("-c", repo, "registry-dump")))
    assert proxy.requests


def make_certificate(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """One that signed itself: alone, and with its key."""
    key, certificate, both = folder / f"{name}.key", folder / f"{name}.pem", folder / f"{name}.both"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate], check=True,
                   capture_output=True)
    both.write_text(certificate.read_text() + key.read_text())
    return certificate, both


def check_tls(s3: S3, folder: pathlib.Path) -> None:
    certificate, both = make_certificate(folder, "service")
    stranger, _ = make_certificate(folder, "stranger")
    right = f"s3://{s3.bucket}/f/right.parquet"
    arguments = asof(folder / "left.parquet", right, folder / "again.csv", "--features", "v0,v5")
    with FaultProxy(s3.port, both) as proxy:
        assert proxy.endpoint.startswith("https://")
        with at(proxy.endpoint, AWS_CA_BUNDLE=str(certificate), AWS_MAX_ATTEMPTS="2"):
            run(*arguments)
            assert (folder / "again.csv").read_bytes() == (folder / "out.csv").read_bytes()
            run(*asof(folder / "left.parquet", right, f"s3://{s3.bucket}/f/tls.csv", "--features", "v0,v5"))
            assert s3.get("f/tls.csv") == (folder / "out.csv").read_bytes()
        for trusted in ({}, {"AWS_CA_BUNDLE": str(stranger)}):
            with at(proxy.endpoint, AWS_MAX_ATTEMPTS="2", **trusted):
                error = fail(*arguments, code=DENIED, says=["certificate", "is not trusted", proxy.endpoint, "ca_file"])
                assert "curlCode" not in error, error
        with at(proxy.endpoint, AWS_CA_BUNDLE=str(folder / "none.pem")):
            fail(*arguments, code=NOT_FOUND, says=["none.pem", "cannot be read"])
        repo = folder / "tls-repository"
        run("init", repo)
        upload(s3, "c/driver_stats.csv", repo / "data/driver_stats.csv")
        edit(repo / "features.yaml", "data/driver_stats.csv", f"s3://{s3.bucket}/c/driver_stats.csv")
        (repo / "service.pem").write_bytes(certificate.read_bytes())
        with open(repo / "feature_store.yaml", "a") as settings:
            settings.write(f"s3: {{endpoint_url: '{proxy.endpoint}', ca_file: service.pem}}\n")
        with environment(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY=SECRET):
            run("-c", repo, "apply")


def check_sink(s3: S3, folder: pathlib.Path) -> None:
    """What is materialized is kept on S3, too; the same interval replaces its object."""
    repo = folder / "sink-repository"
    run("init", repo)
    text = (repo / "features.yaml").read_text()
    assert text.count("    source: driver_stats_source\n") == 1, text
    text = text.replace("    source: driver_stats_source\n", "    source: driver_stats_source\n    sink_source: kept\n")
    text = text.replace("data_sources:\n", f"data_sources:\n  - {{name: kept, path: 's3://{s3.bucket}/sink', file_format: "
                                           f"parquet, timestamp_field: event_timestamp}}\n")
    (repo / "features.yaml").write_text(text)
    run("-c", repo, "apply")
    days = ("2026-01-01", "2026-01-02", "2026-01-03")
    for start, end in (days[:2], days[1:], days[1:]):
        run("-c", repo, "materialize", start, end)
    objects = keys(s3, "sink/")
    assert len(objects) == 2 and all(name.startswith("sink/driver_stats_") for name in objects), objects
    kept = [pq.read_table(pa.BufferReader(s3.get(name))) for name in objects]
    out = folder / "range.parquet"
    for table, (start, end) in zip(kept, (days[:2], days[1:])):
        run("-c", repo, "get-historical-features", "-f", "driver_stats:*", "--start", start, "--end", end, "-o", out)
        assert table.num_rows > 0 and table.equals(pq.read_table(out)), (start, table)


def check_partitions(s3: S3) -> None:
    """Scans of folders that hold partitions, by the library's own test."""
    program = pathlib.Path(PROGRAM).with_name("dataset_test")
    done = subprocess.run([program, "-ns", "-tc=child: hive folders on S3*"], capture_output=True, text=True,
                          timeout=seconds(60), env={**os.environ, "GNOMON_TEST_S3": f"s3://{s3.bucket}/hive"})
    assert done.returncode == 0 and " 1 passed" in done.stdout, done.stdout + done.stderr
    assert len(keys(s3, "hive/year=2024/")) == 2


def main() -> None:
    with temporary_folder() as folder, S3() as s3, FaultProxy(s3.port) as proxy:
        with at(s3.endpoint):
            check_repository(s3, folder)
            check_formats(s3, folder)
            check_kill(s3, folder)
            check_wrong_addresses(s3, folder)
            check_sink(s3, folder)
            check_partitions(s3)
        with at(proxy.endpoint):
            check_requests(s3, proxy, folder)
            check_recovery(s3, proxy, folder)
            check_lost(s3, proxy, folder)
            check_change(s3, proxy, folder)
            check_interrupt(s3, proxy, folder)
        check_credentials(s3, proxy, folder)
        check_tls(s3, folder)


main()
