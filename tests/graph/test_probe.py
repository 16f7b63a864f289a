"""`python -m gru4rec.device`: what is missing, one operation in a child process, the self-test."""

import json
import os
import sys

import pytest

from gru4rec import tf_compat
from gru4rec.device import __main__ as command
from gru4rec.device import npu, probe, selftest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TESTS)
import fake_npu  # noqa: E402

ADAPTER = "npu_device" if tf_compat.IS_TF2 else "npu_bridge"

# Read by the child at its start: a fake adapter, and a session that ends in a way of its own.
SITE = """
import os, sys
sys.path.insert(0, %r)
import fake_npu
fake = fake_npu.Fake(%r)
sys.meta_path.insert(0, fake)
fake_npu.break_sessions(%r)
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """function (how sessions end) -> probe.one_op in such a child."""
    def run(ending, seconds=probe.SECONDS):
        (tmp_path / "sitecustomize.py").write_text(SITE % (TESTS, ADAPTER, ending))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv(npu.SKIP_CHECK, "1")
        return probe.one_op("npu", seconds)
    return run


@pytest.mark.once_on_1
def test_a_child_that_is_aborted_is_a_message(child):
    found = child("abort")
    assert not found["ok"] and "ended by SIGABRT" in found["message"]
    assert "[GePlugin] Initialize ge failed" in found["message"]
    assert "npu-smi info" in found["message"]
    assert "\n" not in found["message"]


@pytest.mark.once_on_1
def test_an_error_of_the_session_is_a_message(child):
    found = child("error")
    assert not found["ok"] and "Initialize ge failed" in found["message"]
    assert "ended by" not in found["message"]


@pytest.mark.once_on_1
def test_a_device_that_works_is_said_to_have_compiled(child):
    assert child("compiled") == {"ok": True, "message": "one product ran",
                                 "compiled_on_device": True}


def test_a_child_that_hangs_is_a_message(child):
    found = child("hang", seconds=0.2)
    assert not found["ok"] and "longer than" in found["message"]


def test_the_command_says_what_is_missing_and_how_to_mend_it(monkeypatch, capsys):
    monkeypatch.setattr(npu, "device_nodes", lambda: [])
    assert command.main([]) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["adapter"] == ADAPTER and not found["usable"] and found["device_nodes"] == []
    assert err.count("\n") == 1 and "not installed; install it" in err
    assert command.main(["--device", "tpu"]) == 2


@pytest.mark.parametrize("failure, words", [
    ("no libraries", "set_env.sh"), ("no hccl", "hccl is not on PYTHONPATH"),
    ("no module", "decorator"), ("broken", "failed (AttributeError")])
def test_each_kind_of_broken_adapter_is_named(failure, words, monkeypatch, capsys):
    monkeypatch.setattr(npu, "device_nodes", lambda: ["/dev/davinci0"])
    with fake_npu.installed(ADAPTER, failure):
        assert command.main([]) == 1
    out, err = capsys.readouterr()
    assert words in json.loads(out)["missing"] and words in err
    with fake_npu.installed(ADAPTER):
        assert command.main([]) == 0
        assert json.loads(capsys.readouterr().out)["usable"]


def test_a_probe_that_fails_makes_the_device_unusable(monkeypatch, capsys):
    monkeypatch.setattr(probe, "one_op", lambda name: {"ok": False, "message": "ended by SIGABRT"})
    assert command.main(["--device", "cpu", "--probe"]) == 1
    out, err = capsys.readouterr()
    assert not json.loads(out)["usable"] and "SIGABRT" in err


# --- the self-test


SMALL = ["--size", "8", "--batch_size", "200"]


@pytest.mark.release
@pytest.mark.once
def test_the_selftest_of_the_cpu_compares_it_with_itself(tmp_path):
    out = str(tmp_path / "report.json")
    (name, flags, _), *_, scaled = selftest.plan("cpu")  # an evaluation of each would take its time
    result = selftest.selftest("cpu", out, SMALL, [(name, flags, False), scaled])
    assert json.load(open(out)) == result and result["ok"], result
    reference, scaled = result["runs"]
    assert len(reference["loss_curve"]) > 1 and scaled["ms_per_step"] > 0
    assert scaled["recall@20"] > 0
    assert scaled["skipped_steps"] == 0 and scaled["loss_scale"] >= 1
    assert 0 <= result["comparison"][0]["loss"] <= selftest.LOSS
    text = "\n".join(selftest.summary(result))
    assert "cpu, loss scaling" in text and text.endswith("self-test: ok")


def test_the_command_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(selftest, "plan", lambda device: [])
    monkeypatch.setattr(selftest, "selftest", lambda device, out: {
        "ok": out == "r.json", "runs": [], "comparison": []})
    monkeypatch.setattr(probe, "one_op", lambda name: {"ok": True, "message": "one product ran"})
    assert command.main(["--device", "cpu", "--probe", "--selftest", "--out", "r.json"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["self-test: ok", "report: r.json"]
    assert command.main(["--device", "cpu", "--selftest"]) == 1


def curve(name, losses, **more):
    return dict(name=name, error=None,
                loss_curve=[[step, loss] for step, loss in enumerate(losses)], **more)


def test_a_device_that_differs_is_not_ok():
    reference = curve("cpu", [4.0, 3.0], **{"recall@20": 0.5})
    assert selftest._compared(reference, curve("npu", [4.0, 3.05], **{"recall@20": 0.505}))["ok"]
    assert not selftest._compared(reference, curve("npu", [4.0, 3.2]))["ok"]
    assert not selftest._compared(reference, curve("npu", [4.0, 3.0], **{"recall@20": 0.4}))["ok"]
    assert not selftest._compared(reference,
                                  dict(curve("npu", []), error="exit status 2: no"))["ok"]


def test_runs_that_fail_or_find_no_time_left_are_named(tmp_path):
    result = selftest.selftest("cpu", str(tmp_path / "r.json"), ["--loss", "none"],
                               selftest.plan("cpu")[:1])
    assert not result["ok"] and "exit status 2: error: --loss 'none'" in result["runs"][0]["error"]
    result = selftest.selftest("cpu", str(tmp_path / "r.json"), (), selftest.plan("cpu")[:1],
                               seconds=0)
    assert "no time was left" in result["runs"][0]["error"]
    assert "NOT OK" in selftest.summary(result)[-1]
