#!/usr/bin/env python3
"""The sales flow end to end on a small size, as a user runs it: sales_flow.py GNOMON

Checks the demo's JSON, that the model beats both naive baselines and stays below the noise floor, that with shuffled
labels it does not beat the mean of the group, that a served prediction, one by `predict` and one by a server process
are the same, and that no feature of a week uses that week or a later one.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

GNOMON = sys.argv[1]
END = "2025-01-03T00:00:00Z"
KEYS = '[{"store":1,"dept":3},{"store":5,"dept":8}]'


def run(*arguments: str, code: int = 0) -> str:
    result = subprocess.run([GNOMON, *arguments], capture_output=True, text=True, timeout=200)
    assert result.returncode == code, f"{arguments}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout if code == 0 else result.stderr


def demo(folder: str, seed: int, *more: str) -> dict:
    return json.loads(run("demo", "sales", "--json", "--dir", folder, "--stores", "30", "--depts", "20", "--seed",
                          str(seed), *more))


def check_demo(folder: str) -> None:
    for seed in (1, 2):
        result = demo(folder, seed)
        metrics = result["metrics"]
        assert result["rows"] == 30 * 20 * 52 and result["online_keys"] == 600 and result["seed"] == seed
        assert metrics["mse"] < metrics["baseline_last_value_mse"], metrics
        assert metrics["mse"] < metrics["baseline_group_mean_mse"], metrics
        assert 0.5 < metrics["r2"] <= metrics["noise_floor_r2"], metrics
        assert [step["name"] for step in result["steps"]][:3] == ["generate", "apply", "materialize"]
        assert len(result["predictions"]) == 2 and result["latency_ms"]["p50"] > 0
        assert os.path.getsize(os.path.join(folder, "report.html")) > 10_000
    shuffled = demo(folder + "-shuffled", 1, "--shuffle-labels")["metrics"]
    assert shuffled["mse"] > 0.99 * min(shuffled["baseline_group_mean_mse"], shuffled["baseline_last_value_mse"]), shuffled


def check_predictions(folder: str) -> None:
    batch = json.loads(run("-c", folder, "predict", "--model", "sales-model", "--json", KEYS, "--as-of", END))
    reader, writer = os.pipe()
    server = subprocess.Popen([GNOMON, "-c", folder, "serve-model", "-p", "0", "--as-of", END, "--ready-fd", str(writer)],
                              pass_fds=[writer], stdout=subprocess.DEVNULL)
    try:
        os.close(writer)
        port = int(os.fdopen(reader).readline())
        base = f"http://127.0.0.1:{port}"

        def post(body: str):
            request = urllib.request.Request(base + "/v1/models/sales-model:predict", body.encode(),
                                             {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=20) as reply:
                    return reply.status, json.load(reply)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        status, served = post('{"instances":' + KEYS + "}")
        assert status == 200 and served == batch, (served, batch)
        for body, expected in (("{", 400), ("{}", 400), ('{"instances":[{"store":1}]}', 400),
                               ('{"instances":[{"store":"x","dept":1}]}', 400),
                               ('{"instances":[{"store":999,"dept":1}]}', 404)):
            status, answer = post(body)
            assert status == expected and answer["error"], (body, status, answer)
        for path in ("/v1/models", "/v1/models/sales-model", "/healthz", "/metrics"):
            with urllib.request.urlopen(base + path, timeout=20) as reply:
                assert reply.status == 200, path
    finally:
        server.terminate()
        assert server.wait(timeout=40) == 0


def check_command_line(folder: str) -> None:
    assert "sales_features" in run("-c", folder, "feature-views", "list")
    runs = json.loads(run("-c", folder, "runs", "list", "--json"))
    assert runs[0]["name"].startswith("sales-training-") and runs[0]["status"] == "FINISHED"
    assert {"epochs", "lr"} <= set(runs[0]["params"]) and {"test_mse", "test_r2"} <= set(runs[0]["metrics"])
    status = json.loads(run("-c", folder, "status", "--json"))
    assert {view["view"]: view["rows"] for view in status["views"]} == {"sales_features": 600, "store_conditions": 30}
    assert "no changes" in run("-c", folder, "apply")
    assert "recent_sale" in run("-c", folder, "get-online-features", "-f", "sales_features:recent_sale", "-e", KEYS,
                                code=3)
    assert "feature_store.yaml" in run("-c", folder + "/nowhere", "apply", code=3)
    run("demo", "sales", "--dir", os.path.dirname(GNOMON), code=4)
    out = os.path.join(folder, "out.parquet")
    run("-c", folder, "get-historical-features", "--entities", os.path.join(folder, "data/labels.parquet"),
        "--feature-service", "sales_service", "--out", out)
    assert os.path.getsize(out) > 100_000


with tempfile.TemporaryDirectory(prefix="gnomon-flow") as temporary:
    sales = os.path.join(temporary, "sales")
    check_demo(sales)
    check_predictions(sales)
    check_command_line(sales)
print("the sales flow is fine")
