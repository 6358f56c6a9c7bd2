#!/usr/bin/env python3
"""docs/guide/from-feast.md, followed word for word beside a real Feast: from_feast.py GNOMON (run by .venv-feast's python)

The repository is the one of `feast init`, with its maps, Python views, label view and push source, on Feast's online stores in
SQLite, PostgreSQL and Redis; the rows lie in a Parquet file or in a table of PostgreSQL. The guide's commands are run as they
stand there. Then both serve: the same request has the same answer, and each reads what the other one was pushed. Over copies
of one repository, requests that write or materialize leave the same rows behind.
"""

import contextlib
import datetime
import importlib.util
import json
import logging
import pathlib
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings

import pandas as pd
import uvicorn

from program import NOT_FOUND, PROGRAM, Server, describe, fail, run, seconds, temporary_folder
from services import ROOT, Postgres, Redis

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import feast.templates.local  # noqa: E402
from feast import FeatureStore  # noqa: E402
from feast.driver_test_data import create_driver_hourly_stats_df  # noqa: E402
from feast.errors import FeastError, FeatureViewNotFoundException  # noqa: E402
from feast.feature_server import get_app  # noqa: E402
from feast.feature_view import FeatureViewState  # noqa: E402
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource  # noqa: E402

GUIDE = (ROOT / "docs/guide/from-feast.md").read_text()
TEMPLATE = pathlib.Path(feast.templates.local.__file__).parent / "feature_repo/feature_definitions.py"
KEYS = [1001, 1002, 1003, 1004, 1005]
VIEW = "driver_hourly_stats"
FEATURES = [f"{VIEW}:{name}" for name in ("conv_rate", "acc_rate", "avg_daily_trips")]
HOUR = datetime.timedelta(hours=1)
# Far enough in the past for rows that are pushed later; the views' ttl is a day.
END = datetime.datetime.now(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0) - HOUR
MIDDLE = END - 5 * HOUR
START = END - 15 * 24 * HOUR


def text_of(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def guide_commands() -> list:
    """The command lines of the guide's code blocks, without comments; its two days are those of the rows."""
    lines = [line for block in re.findall(r"^```\n(.*?)^```", GUIDE, re.M | re.S) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("gnomon ")]
    assert len(commands) >= 7, commands
    days = {"2026-01-01": text_of(START), "2026-01-02": text_of(END)}
    return [[days.get(word, word) for word in command[1:]] for command in commands]


class FeastServer:
    """`feast serve` on a thread."""

    def __init__(self, store: FeatureStore):
        self._server = uvicorn.Server(uvicorn.Config(get_app(store), host="127.0.0.1", port=0, log_level="error"))

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        end = time.monotonic() + seconds(30)
        while not self._server.started:
            assert time.monotonic() < end and self._thread.is_alive(), "Feast's server does not start"
            time.sleep(0.01)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(seconds(30))

    def post(self, path: str, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=seconds(30)) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read())


def template_objects(folder: pathlib.Path, table: bool) -> list:
    """What `feast apply` finds in the template, with the rows in a file or in the table driver_stats."""
    text = TEMPLATE.read_text()
    for name, value in {"PROJECT_NAME": "shop", "PARQUET_PATH": "data/driver_stats.parquet", "LOGGING_PATH": "data",
                        "LABEL_DATA_PATH": "data/driver_quality_labels.parquet"}.items():
        text = text.replace(f"%{name}%", value)
    if table:
        text = re.sub(r"driver_stats_source = FileSource\(\s*name=(\S+)\s*path=\S+",
                      r'driver_stats_source = PostgreSQLSource(name=\1 table="driver_stats",', text)
    path = folder / "feature_definitions.py"
    path.write_text(f"from {PostgreSQLSource.__module__} import PostgreSQLSource\n{text}")
    loaded = importlib.util.spec_from_file_location(f"definitions_of_{folder.name}", path)
    module = importlib.util.module_from_spec(loaded)
    sys.modules[loaded.name] = module
    loaded.loader.exec_module(module)
    kinds = (feast.Entity, feast.FeatureView, feast.FeatureService, feast.OnDemandFeatureView, feast.LabelView,
             feast.data_source.DataSource)
    return [value for value in vars(module).values() if isinstance(value, kinds)]


def make_repository(folder: pathlib.Path, online: str, postgres) -> FeatureStore:
    (folder / "data").mkdir(parents=True)
    offline = f"{{type: postgres, {postgres.yaml}, sslmode: disable}}" if postgres else "{type: file}"
    (folder / "feature_store.yaml").write_text(
        f"project: shop\nprovider: local\nregistry: data/registry.db\noffline_store: {offline}\n"
        f"online_store: {{{online}}}\nentity_key_serialization_version: 3\nauth:\n    type: no_auth\n")
    rows = create_driver_hourly_stats_df(KEYS, START.replace(tzinfo=None), END.replace(tzinfo=None))
    rows.to_parquet(folder / "data/driver_stats.parquet", allow_truncated_timestamps=True)
    labels = {"driver_id": "int64", "is_reliable": "int64", "quality_score": "float32", "reviewer_notes": "string",
              "labeler": "string", "event_timestamp": "datetime64[ns]"}
    pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in labels.items()}).to_parquet(
        folder / "data/driver_quality_labels.parquet")
    if postgres:
        fill_table(postgres, rows)
    store = FeatureStore(repo_path=str(folder))
    store.apply(template_objects(folder, postgres is not None))
    return store


def fill_table(postgres, rows: pd.DataFrame) -> None:
    columns = ["event_timestamp", "driver_id", "conv_rate", "acc_rate", "avg_daily_trips", "created"]
    lines = rows[columns].to_csv(index=False, header=False)
    postgres.sql("CREATE TABLE driver_stats (event_timestamp timestamptz, driver_id int8, conv_rate float4, "
                 "acc_rate float4, avg_daily_trips int8, created timestamp, driver_metadata jsonb, driver_config text, "
                 "driver_profile jsonb)")
    path = postgres.folder / "rows.csv"
    path.write_text(lines)
    with open(path) as rows_file:
        postgres.sql(f"COPY driver_stats ({', '.join(columns)}) FROM STDIN WITH (FORMAT csv)", stdin=rows_file)


def follow(folder: pathlib.Path, *words) -> str:
    """A command of the guide, in the repository folder."""
    done = subprocess.run([PROGRAM, *words], cwd=folder, capture_output=True, text=True, timeout=seconds(60))
    assert done.returncode == 0, describe(words, done)
    return done.stdout


def online_with_feast(store: FeatureStore) -> dict:
    answer = store.get_online_features(features=FEATURES, entity_rows=[{"driver_id": key} for key in KEYS]).to_dict()
    return {name.split(":")[1]: answer[name.split(":")[1]] for name in FEATURES}


def online_with_gnomon(folder: pathlib.Path) -> dict:
    answer = json.loads(run("-c", folder, "get-online-features", *(word for name in FEATURES for word in ("-f", name)),
                            "-e", json.dumps({"driver_id": KEYS}), "--json"))
    columns = dict(zip(answer["metadata"]["feature_names"], answer["results"]))
    return {name.split(":")[1]: columns[name.split(":")[1]]["values"] for name in FEATURES}


def check_guide(folder: pathlib.Path, store: FeatureStore) -> None:
    before = online_with_feast(store)
    assert None not in before["conv_rate"], before
    for words in guide_commands():
        if words[0] == "serve":
            continue
        if words[0] == "get-online-features" and folder.name == "redis":
            assert "run: gnomon apply" in fail("-c", folder, *words, code=NOT_FOUND, says="no table of view")
            continue
        told = follow(folder, *words)
        if words[0] == "import":
            for left in ("feature 'driver_metadata': type Map", "on demand feature view 'transformed_conv_rate'",
                         "label view 'driver_quality_labels'"):
                assert left in told, told
        elif words[0] == "plan":
            assert "no changes" in told, told
        elif words[0] in ("get-online-features", "apply"):
            assert online_with_gnomon(folder) == before, "Gnomon reads what Feast materialized"
        elif words[0] == "materialize":
            assert "materialized" in told, told
    newest = online_with_feast(store)
    assert newest != before and newest == online_with_gnomon(folder), "Feast reads what Gnomon materialized"


def check_history(folder: pathlib.Path, store: FeatureStore) -> None:
    moments = [START + datetime.timedelta(hours=7 * i, minutes=13 * i) for i in range(40)]
    entities = pd.DataFrame({"driver_id": [KEYS[i % 5] for i in range(40)], "event_timestamp": moments})
    theirs = store.get_historical_features(entity_df=entities, features=FEATURES).to_df()
    entities.to_parquet(folder / "entities.parquet")
    run("-c", folder, "get-historical-features", "--entities", folder / "entities.parquet", "--feature-service",
        "driver_activity_v2", "--out", folder / "training.parquet")
    ours = pd.read_parquet(folder / "training.parquet")
    order = ["event_timestamp", "driver_id"]
    theirs, ours = theirs.sort_values(order, ignore_index=True), ours.sort_values(order, ignore_index=True)
    for name in ("conv_rate", "acc_rate", "avg_daily_trips"):
        wanted = theirs[name].to_numpy(dtype="float64", na_value=float("nan"))
        pd.testing.assert_series_equal(pd.Series(ours[name].to_numpy(dtype="float64", na_value=float("nan"))),
                                       pd.Series(wanted))


def by_name(answer) -> dict:
    """The columns of a server's answer; Feast gives those of one view in any order."""
    status, body = answer
    assert status == 200 and set(body) == {"metadata", "results"}, body
    for result in body["results"]:  # of an unknown key Feast says NOT_FOUND, but PRESENT where it reads Redis
        result["statuses"] = ["NOT_FOUND" if value is None else status
                              for value, status in zip(result["values"], result["statuses"], strict=True)]
    return dict(zip(body["metadata"]["feature_names"], body["results"], strict=True))


def check_serving(folder: pathlib.Path, store: FeatureStore) -> None:
    requests = [{"features": FEATURES, "entities": {"driver_id": [1001, 1005, 7]}},
                {"features": FEATURES[:1], "entities": {"driver_id": [1002]}, "full_feature_names": True},
                {"features": [FEATURES[2], f"{VIEW}_fresh:conv_rate"], "entities": {"driver_id": [1003]}}]
    with Server(folder, "serve") as ours, FeastServer(store) as theirs:
        for request in requests:
            answers = [server.post("/get-online-features", request) for server in (ours, theirs)]
            assert by_name(answers[0]) == by_name(answers[1]), answers
        row = {"driver_id": [1001], "created": [text_of(END)], "acc_rate": [0.5], "avg_daily_trips": [5]}
        for writer, minutes, rate in ((ours, 1, 0.25), (theirs, 2, 0.75)):
            pushed = {**row, "event_timestamp": [text_of(END + datetime.timedelta(minutes=minutes))], "conv_rate": [rate]}
            if writer is theirs:
                pushed |= {"driver_metadata": [None], "driver_config": [None], "driver_profile": [None]}
            status, told = writer.post("/push", {"push_source_name": "driver_stats_push_source", "df": pushed,
                                                 "to": "online"})
            assert status == 200, told
            request = {"features": [f"{VIEW}_fresh:conv_rate", f"{VIEW}:conv_rate"], "full_feature_names": True,
                       "entities": {"driver_id": [1001]}}
            answers = [server.post("/get-online-features", request) for server in (ours, theirs)]
            for columns in map(by_name, answers):
                # Only the view with this push source takes the row.
                assert columns[f"{VIEW}_fresh__conv_rate"]["values"] == [rate], (writer, columns)
                assert columns[f"{VIEW}__conv_rate"]["values"] != [rate], (writer, columns)


def stored_rows(folder: pathlib.Path) -> dict:
    """What lies in Feast's SQLite tables of the two views, of the features that Gnomon carries."""
    with contextlib.closing(sqlite3.connect(folder / "data/online_store.db")) as database:
        names = ", ".join(f"'{name.split(':')[1]}'" for name in FEATURES)
        return {view: sorted(database.execute(
            f'SELECT entity_key, feature_name, value, event_ts FROM "shop_{view}" WHERE feature_name IN ({names})'))
            for view in (VIEW, f"{VIEW}_fresh")}


def written_row(minutes: int, **columns) -> dict:
    return {"driver_id": [1001, 77], "event_timestamp": [text_of(END + datetime.timedelta(minutes=minutes))] * 2,
            "created": [text_of(END)] * 2, "conv_rate": [0.125, 0.5], "acc_rate": [0.25, 0.75], "avg_daily_trips": [1, 2],
            "driver_metadata": [None] * 2, "driver_config": [None] * 2, "driver_profile": [None] * 2, **columns}


def write_requests() -> list:
    """(path, body) of all that a client may do to the store; what Feast's own clients send stands there in full. Later rows come
    later: Feast would replace a newer one."""
    day = {"start_ts": text_of(START), "end_ts": (END - 2 * HOUR).isoformat(), "disable_event_timestamp": False,
           "full_feature_names": False}
    whole = {**day, "end_ts": END.isoformat()}
    return [
        ("/materialize", {**day, "feature_views": ["nothing"]}),
        ("/materialize-incremental", {"end_ts": text_of(END), "feature_views": ["nothing"]}),
        ("/materialize", {**day, "feature_views": []}),
        ("/materialize", {**day, "feature_views": [f"{VIEW}_fresh"]}),
        ("/materialize?async=true", {**whole, "feature_views": [VIEW, f"{VIEW}_fresh"]}),
        ("/materialize-incremental", {"end_ts": text_of(END + HOUR), "feature_views": [VIEW], "full_feature_names": False}),
        ("/materialize-incremental?async=true&force=true", {"end_ts": text_of(END), "feature_views": [f"{VIEW}_fresh"]}),
        ("/materialize?async=true", {"disable_event_timestamp": True, "feature_views": [VIEW]}),
        ("/push", {"push_source_name": "driver_stats_push_source", "df": written_row(5)}),
        ("/write-to-online-store", {"feature_view_name": VIEW, "df": written_row(10), "allow_registry_cache": True,
                                    "transform_on_write": True}),
        ("/write-to-online-store", {"feature_view_name": f"{VIEW}_fresh", "df": {}}),
        ("/write-to-online-store", {"feature_view_name": "nothing", "df": written_row(10)}),
    ]


# Requests that are wrong in themselves: Feast answers 422 or 500, Gnomon 400.
WRONG_REQUESTS = [
    ("/write-to-online-store", {"feature_view_name": VIEW}, 422),
    ("/materialize", {"feature_views": [VIEW]}, 500),
    ("/materialize", {"start_ts": text_of(END), "end_ts": text_of(START), "feature_views": [VIEW]}, 500),
    ("/materialize", {"start_ts": "soon", "end_ts": text_of(END), "feature_views": [VIEW]}, 500),
    ("/materialize-incremental", {"feature_views": [VIEW]}, 422),
    ("/materialize-incremental", {"end_ts": text_of(END), "feature_views": VIEW}, 422),
]


def feast_is_busy(store: FeatureStore) -> bool:
    """Feast writes its registry in place: a reader may find it empty in the middle of that."""
    try:
        return any(store.registry.get_feature_view(view, "shop").state == FeatureViewState.MATERIALIZING
                   for view in (VIEW, f"{VIEW}_fresh"))
    except FeatureViewNotFoundException:
        return True


def wait_for_jobs(folder: pathlib.Path, store: FeatureStore) -> None:
    """Until no asynchronous materialization is under way in either."""
    end = time.monotonic() + seconds(60)
    while json.loads(run("-c", folder, "materializations", "list", "--state", "running", "--json")) or feast_is_busy(store):
        assert time.monotonic() < end, "a materialization does not end"
        time.sleep(0.05)


def error_of(answer):
    """What of an error's body is Feast's: the exception, and that the message names the thing."""
    raised = FeastError.from_error_detail(answer[1])
    assert "nothing" in str(raised), raised
    return answer[0], type(raised)


def check_write_routes(folder: pathlib.Path) -> None:
    mine, theirs = folder.parent / "mine", folder.parent / "theirs"
    for twin in (mine, theirs):
        shutil.copytree(folder, twin)
        with contextlib.closing(sqlite3.connect(twin / "data/online_store.db")) as database:
            for view in (VIEW, f"{VIEW}_fresh"):
                database.execute(f'DELETE FROM "shop_{view}"')
            database.commit()
    store = FeatureStore(repo_path=str(theirs))
    with Server(mine, "serve", "--no-access-log") as ours, FeastServer(store) as feasts:
        for path, body in write_requests():
            answers = [server.post(path, body) for server in (ours, feasts)]
            if answers[1][0] == 404:
                answers = [error_of(answer) for answer in answers]
            elif path == "/push":
                answers = [answer[0] for answer in answers]
            assert answers[0] == answers[1], (path, body, answers)
            wait_for_jobs(mine, store)
            rows = [stored_rows(twin) for twin in (mine, theirs)]
            assert rows[0] == rows[1], (path, body)
        for path, body, status in WRONG_REQUESTS:
            (our_status, _), (their_status, _) = ours.post(path, body), feasts.post(path, body)
            assert (our_status, their_status) == (400, status), (path, body, our_status, their_status)
        check_conflict(feasts, store)
        check_remote_client(mine, ours)
    assert [len(each) for each in rows[0].values()] == [3 * (len(KEYS) + 1)] * 2, rows[0]


def check_remote_client(folder: pathlib.Path, server: Server) -> None:
    """Feast's own client, told to use a remote online store, with Gnomon behind it."""
    client = folder.parent / "client"
    client.mkdir()
    (client / "feature_store.yaml").write_text(
        f"project: shop\nprovider: local\nregistry: {folder}/data/registry.db\noffline_store: {{type: file}}\n"
        f"online_store: {{type: remote, path: http://127.0.0.1:{server.port}}}\nentity_key_serialization_version: 3\n"
        "auth:\n    type: no_auth\n")
    store = FeatureStore(repo_path=str(client))
    row = pd.DataFrame({**written_row(20), "event_timestamp": [END + datetime.timedelta(minutes=20)] * 2,
                        "created": [END] * 2, "conv_rate": [0.375, 0.625]})
    store.write_to_online_store(VIEW, row)
    read = {"features": [f"{VIEW}:conv_rate"], "entity_rows": [{"driver_id": 77}, {"driver_id": 1001}, {"driver_id": 7}]}
    assert store.get_online_features(**read).to_dict()["conv_rate"] == [0.625, 0.375, None]
    store.materialize(START, END, [VIEW], run_async=True)
    store.materialize_incremental(END, [f"{VIEW}_fresh"])
    try:
        store.materialize(START, END, ["nothing"])
        raise AssertionError("a view that is not there was materialized")
    except (RuntimeError, FeastError) as refusal:
        assert "'nothing'" in str(refusal), refusal


def check_conflict(feasts: FeastServer, store: FeatureStore) -> None:
    """The shape of a 409, of which materializations.py looks at Gnomon's."""
    view = store.registry.get_feature_view(VIEW, "shop")
    view.state = FeatureViewState.MATERIALIZING
    store.registry.apply_feature_view(view, "shop")
    status, answer = feasts.post("/materialize?async=true", {"start_ts": text_of(START), "end_ts": text_of(END),
                                                             "feature_views": [VIEW]})
    assert status == 409 and set(answer) == {"error", "feature_views"} and answer["feature_views"] == [VIEW], answer


def check_what_is_feasts(store: FeatureStore) -> None:
    """Gnomon has applied its definitions; Python, maps and labels are still there."""
    store.refresh_registry()
    service = store.get_feature_service("driver_activity_v1")
    names = [projection.name for projection in service.feature_view_projections]
    assert names == [VIEW, "transformed_conv_rate"], names
    answer = store.get_online_features(features=service, entity_rows=[
        {"driver_id": 1001, "val_to_add": 1000, "val_to_add_2": 2000}]).to_dict()
    assert answer["conv_rate_plus_val1"] == [answer["conv_rate"][0] + 1000], answer
    schema = [field.name for field in store.get_feature_view(VIEW).schema]
    assert "driver_metadata" in schema and "driver_config" in schema, schema
    assert [view.name for view in store.list_label_views()] == ["driver_quality_labels"]


def check(folder: pathlib.Path, online: str, postgres) -> None:
    store = make_repository(folder, online, postgres)
    store.materialize(START, MIDDLE, feature_views=[VIEW, f"{VIEW}_fresh"])
    check_guide(folder, store)
    check_what_is_feasts(store)
    check_history(folder, store)
    # And back: Feast goes on, with its maps, too.
    store.materialize(START, END, feature_views=[VIEW, f"{VIEW}_fresh"])
    assert online_with_feast(store) == online_with_gnomon(folder)
    check_serving(folder, store)


with contextlib.ExitStack() as stack:
    database, redis = stack.enter_context(Postgres()), stack.enter_context(Redis())
    root = stack.enter_context(temporary_folder())
    check(root / "sqlite", "type: sqlite, path: data/online_store.db", None)
    check_write_routes(root / "sqlite")
    check(root / "postgres", f"type: postgres, {database.yaml}, sslmode: disable", database)
    check(root / "redis", f"type: redis, connection_string: '{redis.address}'", None)
print("the guide holds beside Feast")
