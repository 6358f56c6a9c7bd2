#!/usr/bin/env python3
"""The sales flow end to end on a small size, as a user runs it: sales_flow.py GNOMON

Checks the demo's JSON, that over five seeds the model beats both naive baselines and stays below the noise floor, that
with labels shuffled it does not beat the better of them, and that `predict` and a server process predict the same.
"""

import json

from program import CONFLICT, NOT_FOUND, Server, fail, run, run_demo, temporary_folder

END = "2025-01-03T00:00:00Z"
KEYS = '[{"store":1,"dept":3},{"store":5,"dept":8}]'
STORES, DEPTS, WEEKS = 30, 20, 52
SEEDS = (1, 2, 3, 4, 5)


def check_demo(folder) -> None:
    for seed in SEEDS:
        result = run_demo(folder, STORES, DEPTS, seed)
        metrics = result["metrics"]
        assert result["rows"] == STORES * DEPTS * WEEKS and result["online_keys"] == STORES * DEPTS, result
        assert result["seed"] == seed
        assert metrics["mse"] < metrics["baseline_last_value_mse"], (seed, metrics)
        assert metrics["mse"] < metrics["baseline_group_mean_mse"], (seed, metrics)
        assert 0.5 < metrics["r2"] <= metrics["noise_floor_r2"], (seed, metrics)
        assert [step["name"] for step in result["steps"]][:3] == ["generate", "apply", "materialize"]
        assert len(result["predictions"]) == 2 and result["latency_ms"]["p50"] > 0
        assert (folder / "report.html").stat().st_size > 10_000
    again = run_demo(folder, STORES, DEPTS, SEEDS[-1])
    same = again["metrics"] == metrics and again["predictions"] == result["predictions"]
    assert same, "a seed does not settle the run"


def check_shuffled_labels(folder) -> None:
    for seed in SEEDS[:3]:
        shuffled = run_demo(folder, STORES, DEPTS, seed, "--shuffle-labels")["metrics"]
        # Within each store and department: what is left to learn is their mean.
        best = min(shuffled["baseline_group_mean_mse"], shuffled["baseline_last_value_mse"])
        assert shuffled["mse"] >= best, shuffled


def check_predictions(folder) -> None:
    batch = json.loads(run("-c", folder, "predict", "--model", "sales-model", "--json", KEYS, "--as-of", END))
    with Server(folder, "serve-model", "--as-of", END) as server:
        status, served = server.post("/v1/models/sales-model:predict", '{"instances":' + KEYS + "}")
        assert status == 200 and served == batch, (served, batch)
        for path in ("/v1/models", "/v1/models/sales-model", "/healthz", "/metrics"):
            assert server.get(path)[0] == 200, path


def check_command_line(folder) -> None:
    assert "sales_features" in run("-c", folder, "feature-views", "list")
    runs = json.loads(run("-c", folder, "runs", "list", "--json"))
    assert runs[0]["name"].startswith("sales-training-") and runs[0]["status"] == "FINISHED"
    assert {"epochs", "lr"} <= set(runs[0]["params"]) and {"test_mse", "test_r2"} <= set(runs[0]["metrics"])
    status = json.loads(run("-c", folder, "status", "--json"))
    assert {view["view"]: view["rows"] for view in status["views"]} == {"sales_features": STORES * DEPTS,
                                                                        "store_conditions": STORES}
    assert "no changes" in run("-c", folder, "apply")
    fail("-c", folder, "get-online-features", "-f", "sales_features:recent_sale", "-e", KEYS, code=NOT_FOUND,
         says="recent_sales")
    fail("demo", "sales", "--dir", folder.parent / "not-ours", code=CONFLICT, says=["not empty", "--dir"])
    out = folder / "out.parquet"
    run("-c", folder, "get-historical-features", "--entities", folder / "data/labels.parquet", "--feature-service",
        "sales_service", "--out", out)
    assert out.stat().st_size > 100_000


with temporary_folder() as temporary:
    sales = temporary / "sales"
    (temporary / "not-ours").mkdir()
    (temporary / "not-ours/letter.txt").write_text("keep me")
    check_demo(sales)
    check_predictions(sales)
    check_command_line(sales)
    check_shuffled_labels(temporary / "shuffled")
    assert (temporary / "not-ours/letter.txt").read_text() == "keep me"
print("the sales flow is fine")
