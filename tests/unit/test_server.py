"""`python -m gru4rec.serve` by the real command, over HTTP."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gru4rec
from tests import serving_helpers as helpers

for _module in ("fastapi", "uvicorn", "prometheus_client", "orjson"):
    pytest.importorskip(_module, reason="the extra serve is not installed (Python 3.9 or later)")
from gru4rec.serve import server  # noqa: E402

FLAGS = ("--reload_seconds", "0.05", "--max_prefix", "30", "--max_k", "40", "--max_body", "3000",
         "--max_list_body", "5000")


class Server:
    """The command in a process of its own."""

    def __init__(self, cwd, *flags, **environment):
        words = [sys.executable, "-m", "gru4rec.serve", "--checkpoint_dir", "checkpoint", "--port",
                 "0"]
        self.process = subprocess.Popen(words + list(flags), cwd=str(cwd), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, universal_newlines=True,
                                        env=dict(os.environ, **environment))
        self.line = self.process.stdout.readline()
        self.port = int(re.search(r"on http://127.0.0.1:(\d+)\n\Z", self.line).group(1))

    def ask(self, method, path, body=None, headers=(), raw=None):
        """(status, body as JSON or text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        content = raw if raw is not None else None if body is None else json.dumps(body)
        connection.request(method, path, content,
                           dict({"Content-Type": "application/json"}, **dict(headers)))
        response = connection.getresponse()
        text = response.read().decode("utf-8")
        connection.close()
        is_json = response.getheader("content-type", "").startswith("application/json")
        return response.status, json.loads(text) if is_json and text else text

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate(timeout=120)

    def stop(self, number=signal.SIGTERM):
        """Exit status and stderr after a signal."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=120)
        return self.process.returncode, err


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(Server, Model) of one checkpoint, for tests that change neither."""
    directory, patch = tmp_path_factory.mktemp("served"), pytest.MonkeyPatch()
    (directory / "checkpoint").mkdir()
    helpers.save(directory / "checkpoint", patch)
    patch.undo()
    with Server(directory, *FLAGS) as made:
        yield made, gru4rec.load(str(directory / "checkpoint"))


def assert_list(answer, expected):
    assert answer["items"] == expected.ids.tolist()
    np.testing.assert_allclose(answer["scores"], expected.scores, atol=1e-5)


def test_recommend_is_the_python_api(served):
    made, model = served
    status, answer = made.ask("POST", "/recommend", {"items": [1007, "1014"], "k": 5})
    assert status == 200 and set(answer) == {"items", "scores", "model", "unknown", "source"}
    assert_list(answer, model.recommend([1007, 1014], 5))
    assert answer["model"] == model.version and answer["source"] == "model"
    _, answer = made.ask("POST", "/recommend",
                         {"items": ["x", 5], "candidates": [1000, 1007, "1014"], "exclude": [1000]})
    assert_list(answer, model.recommend(["x", 5], 20, candidates=[1007, 1014]))
    assert answer["unknown"] == ["x", 5] and answer["source"] == "popularity"
    _, answer = made.ask("POST", "/recommend", {"items": [], "k": 40})
    assert answer["source"] == "popularity" and len(answer["items"]) == 40


def test_clicks_are_kept_and_forgotten(served):
    made, model = served
    for number, item in enumerate([1007, 8, "1014"]):
        status, answer = made.ask("POST", "/sessions/visitor%201/click",
                                  {"item": item, "k": 6, "exclude_seen": True})
        assert status == 200 and answer["clicks"] == number + 1
    assert_list(answer, model.recommend([1007, 1014], 6, exclude_seen=True))
    assert made.ask("DELETE", "/sessions/visitor%201")[0] == 204
    assert made.ask("DELETE", "/sessions/visitor%201")[0] == 404
    assert made.ask("POST", "/sessions/visitor%201/click", {"item": 1007})[1]["clicks"] == 1


def test_named_lists_are_filters(served):
    made, model = served
    told = made.ask("PUT", "/lists/in_stock", [1000, "1007", 1014, 3])
    assert told == (200, {"name": "in_stock", "items": 4, "unknown": 1})
    assert made.ask("PUT", "/lists/sold", [1007])[0] == 200
    assert made.ask("GET", "/lists/in_stock") == (
        200, {"name": "in_stock", "items": [1000, "1007", 1014, 3]})
    _, answer = made.ask("POST", "/recommend",
                         {"items": [1021], "allow": ["in_stock"], "deny": ["sold"]})
    assert_list(answer, model.recommend([1021], candidates=[1000, 1014]))
    _, answer = made.ask("POST", "/sessions/lists/click",
                         {"item": 1021, "deny": ["in_stock"], "k": 9})
    assert_list(answer, model.recommend([1021], 9, exclude=[1000, 1007, 1014]))
    made.ask("PUT", "/lists/in_stock", [1014])
    assert made.ask("POST", "/recommend",
                    {"items": [1021], "allow": ["in_stock"]})[1]["items"] == [1014]
    assert made.ask("DELETE", "/lists/in_stock")[0] == 204
    status, answer = made.ask("POST", "/recommend", {"items": [1021], "allow": ["in_stock"]})
    assert status == 404 and "there is no list 'in_stock'" in answer["detail"]


@pytest.mark.parametrize("method, path, body, status, reason", [
    ("POST", "/recommend", {"items": [1007], "k": 0}, 422, "greater than or equal to 1"),
    ("POST", "/recommend", {"items": [1007], "k": 41}, 422, "less than or equal to 40"),
    ("POST", "/recommend", {"items": [1007], "k": "5"}, 422, "valid integer"),
    ("POST", "/recommend", {"items": [1007] * 31}, 422, "at most 30"),
    ("POST", "/recommend", {"items": "1007"}, 422, "valid array"),
    ("POST", "/recommend", {"items": [1.5]}, 422, "integer"),
    ("POST", "/recommend", {"items": [10 ** 25]}, 422, "less than 9223372036854775808"),
    ("POST", "/sessions/a/click", {"item": -10 ** 25}, 422,
     "greater than or equal to -9223372036854775808"),
    ("POST", "/recommend", {"items": [None]}, 422, "items.0"),
    ("POST", "/recommend", {"items": ["x" * 300]}, 422, "256"),
    ("POST", "/recommend", {"items": [1], "K": 3}, 422, "Extra inputs"),
    ("POST", "/recommend", {}, 422, "body.items"),
    ("POST", "/recommend", [1], 422, "body"),
    ("POST", "/recommend", {"items": [1007] * 700}, 413, "at most 3000"),
    ("POST", "/sessions/a/click", {"item": True}, 422, "body.item"),
    ("POST", "/sessions/a/click", {}, 422, "body.item"),
    ("POST", "/sessions/%s/click" % ("a" * 129), {"item": 1}, 422, "128 characters"),
    ("PUT", "/lists/a%20b", [1], 422, "name"),
    ("PUT", "/lists/a", {"items": [1]}, 422, "valid list"),
    ("PUT", "/lists/a", list(range(3000)), 413, "at most 5000"),
    ("GET", "/lists/none", None, 404, "no list"),
    ("DELETE", "/lists/none", None, 404, "no list"), ("GET", "/nothing", None, 404, "Not Found"),
    ("GET", "/recommend", None, 405, "Method Not Allowed")])
def test_bad_requests_have_a_reason(served, method, path, body, status, reason):
    found, answer = served[0].ask(method, path, body)
    assert (found, list(answer)) == (status, ["detail"]) and reason in json.dumps(answer), answer


def test_a_body_that_is_no_json_or_grows_beyond_the_limit(served):
    assert served[0].ask("POST", "/recommend", raw="{")[0] == 422
    connection = http.client.HTTPConnection("127.0.0.1", served[0].port, timeout=120)
    connection.request("POST", "/recommend", (b" " * 1000 for _ in range(9)),
                       {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    # the reason arrives all the same
    status, answer = served[0].ask("POST", "/recommend", raw=b" " * 10 ** 7)
    assert status == 413 and "at most 3000" in answer["detail"]


def test_health_metrics_and_openapi(served):
    made, model = served
    assert made.ask("GET", "/healthz") == (
        200, {"status": "ok", "model": model.version, "epoch": 0, "items": 40})
    made.ask("POST", "/recommend", {"items": ["unseen"]})
    made.ask("POST", "/recommend", {"items": 1})
    status, text = made.ask("GET", "/metrics")
    assert status == 200 and 'gru4rec_requests_total{path="/recommend",status="200"}' in text
    for name in ("gru4rec_unknown_items_total", "gru4rec_popularity_lists_total",
                 "gru4rec_batch_requests_count",
                 'gru4rec_request_seconds_count{path="/recommend"}',
                 'gru4rec_requests_total{path="refused",status="422"}'):
        assert float(re.search("^%s (.+)$" % re.escape(name), text, re.M).group(1)) >= 1, name
    paths = made.ask("GET", "/openapi.json")[1]["paths"]
    schema = paths["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["items"] and schema["properties"]["k"]["maximum"] == 40
    assert "$defs" not in schema
    assert {"/recommend", "/sessions/{session_id}/click", "/lists/{name}", "/healthz",
            "/metrics"} <= set(paths)


def test_concurrent_requests_are_answered_together_and_right(served):
    made, model = served
    sessions = [model.ids[[i % 40, (3 * i) % 40]].tolist() for i in range(150)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda items: made.ask("POST", "/recommend",
                                                       {"items": items, "k": 4}), sessions))
    for items, (status, answer) in zip(sessions, answers):
        assert status == 200
        assert_list(answer, model.recommend(items, 4))


def test_a_new_checkpoint_is_used_without_losing_a_request(tmp_path, monkeypatch):
    (tmp_path / "checkpoint").mkdir()
    helpers.save(tmp_path / "checkpoint", monkeypatch)
    statuses, stop = [], threading.Event()
    with Server(tmp_path, *FLAGS) as made:
        def keep_asking(number):
            while not stop.is_set():
                statuses.append(made.ask("POST", "/sessions/%d/click" % number, {"item": 1007})[0])

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(keep_asking, number) for number in range(4)]
            made.ask("POST", "/sessions/a/click", {"item": 1014})
            config = helpers.make_config(size="5,3")
            helpers.save(tmp_path / "checkpoint", monkeypatch, config,
                         helpers.random_arrays(config, 40, seed=4), epoch=1)
            model = gru4rec.load(str(tmp_path / "checkpoint"))
            until = time.monotonic() + 120
            while (made.ask("GET", "/healthz")[1]["model"] != model.version
                   and time.monotonic() < until):
                time.sleep(0.05)
            stop.set()
            [future.result(30) for future in asking]
        assert len(statuses) > 8 and set(statuses) == {200}
        _, answer = made.ask("POST", "/sessions/a/click", {"item": 1021, "k": 7})
        assert answer["model"] == model.version and answer["clicks"] == 2
        assert_list(answer, model.recommend([1014, 1021], 7))
        assert "gru4rec_reloads_total 1.0" in made.ask("GET", "/metrics")[1]
        status, err = made.stop()
        assert status == 0 and "model %s is used from now on" % model.version in err
        assert "stopped" in err


def test_a_token_is_asked_for_and_a_signal_stops(tmp_path, monkeypatch):
    (tmp_path / "checkpoint").mkdir()
    helpers.save(tmp_path / "checkpoint", monkeypatch)
    with Server(tmp_path, GRU4REC_SERVE_TOKEN="s3cret") as made:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
            status, answer = made.ask("POST", "/recommend", {"items": [1007]}, headers)
            assert status == 401 and "Bearer" in answer["detail"]
        assert made.ask("POST", "/recommend", {"items": [1007]},
                        {"Authorization": "Bearer s3cret"})[0] == 200
        assert made.ask("GET", "/healthz")[0] == 200 and made.ask("GET", "/metrics")[0] == 401
        status, err = made.stop(signal.SIGINT)
        assert status == 0 and "Traceback" not in err


@pytest.mark.parametrize("flags, environment, expected", [
    (["--checkpoint_dir", "none"], {}, "holds no checkpoint"),
    (["--port", "70000"], {}, "--port 70000 is out of range"),
    (["--host", "203.0.113.9", "--port", "0"], {},
     "--host 203.0.113.9 --port 0: the server cannot listen there"),
    ([], {"GRU4REC_SERVE_TOKEN": " "}, "GRU4REC_SERVE_TOKEN is empty"),
    (["--nothing"], {}, "--nothing")])
def test_what_cannot_be_served_is_one_line(tmp_path, monkeypatch, capfd, flags, environment,
                                           expected):
    monkeypatch.chdir(str(tmp_path))
    (tmp_path / "checkpoint").mkdir()
    helpers.save(tmp_path / "checkpoint", monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert server.main(flags) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and expected in err


def test_without_the_extra_one_line_says_how_to_install_it(monkeypatch, capfd):
    monkeypatch.setattr(server, "NEEDED", ("fastapi", "no_such_module"))
    assert server.main([]) == 2
    assert 'no_such_module; pip install "gru4rec[serve]"' in capfd.readouterr()[1]


def metrics_of_a_run(directory):
    """A metrics.jsonl as a run leaves it."""
    from gru4rec.runlog.rows import Metrics
    log = Metrics(str(directory))
    for step in range(1, 11):
        log.add("train", epoch=step // 6, step=step, lr=0.001, loss=4.0 - 0.1 * step,
                seconds_per_step=0.001)
    for epoch in range(2):
        log.add("valid", **{"epoch": epoch, "step": 5 * epoch + 5, "recall@20": 0.5 + 0.1 * epoch})


def test_items_are_found_and_the_run_is_shown(served):
    made, model = served
    found = made.ask("GET", "/items?search_for=10")[1]["items"]
    expected = [int(model.ids[i]) for i in np.argsort(-model.vocabulary.support, kind="stable")
                if "10" in str(model.ids[i])]
    assert [one["item"] for one in found] == expected[:30]
    assert found[0]["events"] == int(model.vocabulary.support.max())
    assert made.ask("GET", "/items?search_for=nothing") == (200, {"items": []})
    assert made.ask("GET", "/run") == (200, {"curves": {}})
    status, text = made.ask("GET", "/")
    assert status == 200 and text.startswith("<!doctype html>")
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_the_page_in_chromium(tmp_path, monkeypatch):
    from tests import chromium
    if chromium.find() is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    (tmp_path / "checkpoint").mkdir()
    helpers.save(tmp_path / "checkpoint", monkeypatch)
    metrics_of_a_run(tmp_path / "checkpoint")
    model = gru4rec.load(str(tmp_path / "checkpoint"))
    with Server(tmp_path) as made:
        click_through(chromium.Page("http://127.0.0.1:%d/" % made.port), model)


def click_through(page, model):
    """Search, click twice, begin again; the list is that of the model each time."""
    listed = "[...document.querySelectorAll('#list span:first-of-type')].map(e => e.textContent)"
    try:
        page.until("document.querySelectorAll('#curves svg').length === 2")
        page.until("document.querySelectorAll('#items li').length === 30")
        assert ("loss: 3.000 (from 3.900)"
                in page.run("document.querySelector('#curves').textContent"))
        page.run("document.querySelector('#search').value = '1007'; "
                 "document.querySelector('#search').oninput()")
        page.until("document.querySelectorAll('#items li').length === 1")
        page.run("document.querySelector('#items button').click()")
        page.until("document.querySelectorAll('#list li').length === 20")
        first = page.run(listed)
        assert first == [str(i) for i in model.recommend([1007]).ids]
        assert re.match(r"[\d.]+ ms$", page.run("document.querySelector('#latency').textContent"))
        widths = page.run("[...document.querySelectorAll('#list i')].map(e => "
                          "parseFloat(e.style.width))")
        assert widths[0] == 100 and widths == sorted(widths, reverse=True) and widths[-1] == 1
        page.run("document.querySelector('#unseen').click(); "
                 "document.querySelector('#list button').click()")
        page.until("document.querySelectorAll('#session b').length === 2")
        second = model.recommend([1007, first[0]], exclude_seen=True).ids
        assert page.run(listed) == [str(i) for i in second] != first
        page.run("document.querySelector('#reset').click()")
        page.until("document.querySelectorAll('#session b').length === 0")
        assert not page.problems
        assert all(url.startswith(("http://127.0.0.1:", "data:")) for url in page.urls)
        assert len(page.urls) >= 7
    finally:
        page.close()
