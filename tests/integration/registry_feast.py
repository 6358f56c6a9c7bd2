#!/usr/bin/env python3
"""Feast reads the registries that gnomon writes, and gnomon those that Feast writes: a file, SQLite and PostgreSQL.

registry_feast.py GNOMON, with the Python of .venv-feast. One process asks Feast for everything, because importing it takes
ten seconds: its command line through click, its registry's REST server on a thread.
"""

import datetime
import json
import pathlib
import threading
import time
import urllib.request

import click.testing
import pandas as pd
import uvicorn
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.api.registry.rest.rest_registry_server import RestRegistryServer
from feast.cli.cli import cli
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from feast_everything import NOT_CARRIED, apply_everything
from program import NOT_FOUND, execute, fail, run, seconds, temporary_folder
from services import Postgres

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime(2026, 1, 3, tzinfo=datetime.timezone.utc)


def registry_yaml(kind: str, postgres: Postgres) -> str:
    if kind == "file":
        return "registry: data/registry.db\n"
    # A relative path would be below the folder that Feast is started in.
    url = {"sqlite": "sqlite:///{folder}/data/registry.sqlite",
           "postgres": postgres.url.replace("postgresql:", "postgresql+psycopg:")}[kind]
    return f"registry:\n  registry_type: sql\n  path: {url}\n  cache_ttl_seconds: 60\n"


def write_yaml(folder: pathlib.Path, project: str, registry: str) -> None:
    (folder / "feature_store.yaml").write_text(
        f"project: {project}\nprovider: local\n{registry.format(folder=folder)}offline_store: {{type: file}}\n"
        "online_store: {type: sqlite, path: data/online_store.db}\nentity_key_serialization_version: 3\n")


def feast_words(folder: pathlib.Path, *arguments) -> str:
    result = click.testing.CliRunner().invoke(cli, ["-c", str(folder), *arguments])
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.output


class RestServer:
    """`feast serve_registry --rest-api` of a store, on a thread."""

    def __init__(self, store: FeatureStore):
        config = uvicorn.Config(RestRegistryServer(store).app, host="127.0.0.1", port=0, log_level="error")
        self._server = uvicorn.Server(config)

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        end = time.monotonic() + seconds(30)
        while not self._server.started:
            assert time.monotonic() < end and self._thread.is_alive(), "Feast's REST server does not start"
            time.sleep(0.01)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(seconds(30))

    def get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=seconds(30)) as answer:
            return json.load(answer)


def check_feast_reads(folder: pathlib.Path, kind: str, registry: str) -> None:
    """What gnomon applied and materialized, as Feast shows it."""
    run("init", folder)
    project = f"ours_{kind}"
    write_yaml(folder, project, registry)
    run("-c", folder, "apply")
    run("-c", folder, "materialize", "2026-01-01", "2026-01-03")
    views = feast_words(folder, "feature-views", "list")
    assert "driver_stats" in views, (kind, views)
    entities = feast_words(folder, "entities", "list")
    assert "driver" in entities, (kind, entities)
    store = FeatureStore(repo_path=str(folder))
    stats = store.get_feature_view("driver_stats")
    assert stats.ttl == DAY and len(stats.materialization_intervals) == 1, (kind, stats)
    assert stats.materialization_intervals[0][1] == NOW, stats.materialization_intervals
    with RestServer(store) as rest:
        names = [each["spec"]["name"] for each in rest.get(f"/entities?project={project}")["entities"]]
        assert "driver" in names, (kind, names)
        answer = rest.get(f"/feature_views?project={project}")["featureViews"]
        names = [each["spec"]["name"] for each in answer]
        assert names == ["driver_stats"], (kind, names)
        projects = [each["spec"]["name"] for each in rest.get("/projects")["projects"]]
        assert project in projects, (kind, projects)


def feast_objects(folder: pathlib.Path) -> list:
    """A repository of Feast's with a Python function in it."""
    data = folder / "trips.parquet"
    pd.DataFrame({"driver_id": [1, 2, 1], "rate": [0.5, 0.25, 0.75], "trips": [3, 4, 5],
                  "event_timestamp": [NOW - DAY, NOW - DAY, NOW - DAY / 2]}).to_parquet(data)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64, tags={"team": "rides"})
    source = FileSource(name="trips", path=str(data), timestamp_field="event_timestamp")
    stats = FeatureView(name="trip_stats", entities=[driver], ttl=7 * DAY, source=source, tags={"cost": "$5"},
                        schema=[Field(name="driver_id", dtype=Int64), Field(name="rate", dtype=Float64),
                                Field(name="trips", dtype=Int64)])
    request = RequestSource(name="fare", schema=[Field(name="fare", dtype=Float64)])

    @on_demand_feature_view(sources=[stats, request], schema=[Field(name="income", dtype=Float64)], mode="pandas")
    def income(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"income": inputs["trips"] * inputs["fare"]})

    return [driver, source, stats, income, FeatureService(name="plain", features=[stats[["rate"]]]),
            FeatureService(name="mixed", features=[stats, income])]


def check_gnomon_reads(folder: pathlib.Path, kind: str, registry: str) -> None:
    """What Feast applied: plain views run, the Python function is named as not runnable, and all that can be is imported."""
    (folder / "data").mkdir(parents=True)
    project = f"theirs_{kind}"
    write_yaml(folder, project, registry)
    FeatureStore(repo_path=str(folder)).apply(feast_objects(folder))
    listing = execute("-c", folder, "feature-views", "list", "--json")
    assert [view["name"] for view in json.loads(listing.stdout)] == ["trip_stats"], listing.stdout
    assert "its Python function does not run here" in listing.stderr, listing.stderr

    entities = folder / "entities.csv"
    entities.write_text(f"driver_id,event_timestamp\n1,{NOW.isoformat()}\n2,{NOW.isoformat()}\n")
    out = folder / "training.csv"
    run("-c", folder, "get-historical-features", "--entities", entities, "--feature-service", "plain", "--out", out)
    assert list(pd.read_csv(out)["rate"]) == [0.75, 0.25], out.read_text()
    fail("-c", folder, "get-historical-features", "--entities", entities, "-f", "income:income", "--out", out,
         code=NOT_FOUND, says=["'income'", "its Python function does not run here"])

    imported = folder / "features.yaml"
    words = run("-c", folder, "import", "--out", imported)
    assert "on demand feature view 'income'" in words and "feature service 'mixed'" in words, words
    assert "# - on demand feature view 'income'" in imported.read_text(), imported.read_text()
    assert "valid" in run("-c", folder, "validate")
    changes = json.loads(run("-c", folder, "plan", "--json"))["changes"]
    assert {change["action"] for change in changes} == {"unchanged"}, changes

    run("-c", folder, "apply")
    assert "materialized 2 rows" in run("-c", folder, "materialize", "2026-01-01", NOW.date().isoformat())
    keys = json.dumps([{"driver_id": 1}, {"driver_id": 2}])
    answer = json.loads(run("-c", folder, "get-online-features", "-f", "trip_stats:trips", "-e", keys, "--as-of",
                            NOW.isoformat(), "--json"))
    assert [each["values"] for each in answer["results"]][-1] == [5, 4], answer
    # What gnomon changed, Feast reads; its Python function is still there.
    store = FeatureStore(repo_path=str(folder))
    assert [view.name for view in store.list_on_demand_feature_views()] == ["income"]
    parts = store.get_feature_service("mixed").feature_view_projections
    assert [part.name for part in parts] == ["trip_stats", "income"], parts
    assert len(store.get_feature_view("trip_stats").materialization_intervals) == 1
    assert store.get_feature_view("trip_stats").tags == {"cost": "$5"}
    assert "theirs_" + kind in json.loads(run("-c", folder, "registry-dump"))["registry"]["projects"][0]["spec"]["name"]


def check_everything(folder: pathlib.Path, registry: str) -> None:
    """An object of every kind: all is carried, or told with what to do; and what stays Feast's stays as it was."""
    folder.mkdir()
    (folder / "data").mkdir()
    write_yaml(folder, "everything", registry)
    store = FeatureStore(repo_path=str(folder))
    apply_everything(store, folder)

    told = json.loads(run("-c", folder, "import", "--out", folder / "features.yaml", "--json"))["left_out"]
    # In a database Feast forgets at once that a view is disabled.
    enabled = FeatureStore(repo_path=str(folder)).get_feature_view("disabled").enabled
    expected = {line for line in NOT_CARRIED if not (enabled and "'disabled'" in line)}
    assert len(told) == len(set(told)) and set(told) == expected, set(told) ^ expected
    text = (folder / "features.yaml").read_text()
    assert all(f"# - {line}\n" in text for line in told), text
    doctor = execute("-c", folder, "doctor").stdout
    for line in ("permission 'readers'", "validation reference 'like_may'", "data source 'bigquery'"):
        assert line in doctor, doctor

    run("-c", folder, "validate")
    changes = json.loads(run("-c", folder, "plan", "--json"))["changes"]
    assert {change["action"] for change in changes} == {"unchanged"}, changes
    described = json.loads(run("-c", folder, "feature-views", "describe", "plain", "--json"))
    assert (described["owner"], described["tags"]) == ("rides@example.org", {"tier": "gold"}), described
    for kind, name in (("entities", "driver"), ("data-sources", "trips"), ("feature-services", "logged")):
        words = run("-c", folder, kind, "describe", name)
        assert all(each in words for each in {"driver": ("who drives", "rides@example.org", "team"),
                                              "trips": ("all trips", "data@example.org", "$5"),
                                              "logged": ("one", "me", "used")}[name]), words

    # A change of Gnomon's loses nothing of Feast's.
    (folder / "features.yaml").write_text(text.replace('"who drives"', '"who drove"'))
    run("-c", folder, "apply")
    assert "materialized" in run("-c", folder, "materialize", "2026-01-01", "2026-01-03")
    after = FeatureStore(repo_path=str(folder))
    assert after.get_entity("driver").description == "who drove"
    assert [each.name for each in after.list_permissions()] == ["readers"]
    assert after.registry.get_validation_reference("like_may", "everything").dataset_name == "may"
    assert after.get_feature_view("disabled").enabled == enabled
    assert after.get_feature_view("of_kafka").stream_source.name == "kafka"
    assert after.get_feature_view("derived").batch_source.name == "derived_trips"
    assert after.get_feature_service("logged").logging_config is not None
    assert [each.name for each in after.get_feature_service("mixed").feature_view_projections] == ["plain", "income", "twice"]
    assert [field.vector_index for field in after.get_feature_view("plain").features if field.name == "place"] == [True]
    assert after.registry.get_project("everything").description == "all that there is"
    assert {each.name for each in after.list_data_sources()} == {each.name for each in store.list_data_sources()}


def check_projects(folder: pathlib.Path, postgres: Postgres) -> None:
    """One database, many projects: the import asks which."""
    fail("import", "--registry", postgres.url, "--out", folder / "any.yaml", code=2,
         says=["ours_postgres", "theirs_postgres", "--project"])
    run("import", "--registry", postgres.url, "--project", "ours_postgres", "--out", folder / "ours.yaml")
    assert "driver_stats" in (folder / "ours.yaml").read_text()


with temporary_folder() as temporary, Postgres() as server:
    for kind in ("file", "sqlite", "postgres"):
        check_feast_reads(temporary / f"ours_{kind}", kind, registry_yaml(kind, server))
        check_gnomon_reads(temporary / f"theirs_{kind}", kind, registry_yaml(kind, server))
    for kind in ("file", "postgres"):
        check_everything(temporary / f"everything_{kind}", registry_yaml(kind, server))
    check_projects(temporary, server)
print("feast and gnomon share registries in a file, SQLite and PostgreSQL")
