"""Rank tables: what is written, and what is refused. No TensorFlow."""

import copy
import json
import os
import subprocess
import sys

import pytest

from gru4rec.device import rank_table
from gru4rec.errors import ConfigError

IPS = {device: "192.168.1.%d" % (10 + device) for device in range(8)}


def table(**change):
    return dict(rank_table.make("10.0.0.1", list(range(8)), IPS), **change)


def changed(edit):
    made = copy.deepcopy(table())
    edit(made)
    return made


def device(made, number=0):
    return made["server_list"][0]["device"][number]


def test_a_table_has_the_form_hccl_reads():
    made = rank_table.make("10.0.0.1", [4, 5], IPS)
    assert made == {"status": "completed", "version": "1.0", "server_count": "1", "server_list": [
        {"server_id": "10.0.0.1",
         "device": [{"device_id": "4", "rank_id": "0", "device_ip": "192.168.1.14"},
                    {"device_id": "5", "rank_id": "1", "device_ip": "192.168.1.15"}]}]}
    assert "device_ip" not in device(rank_table.make("x", [0], {}))
    with pytest.raises(ConfigError, match="device 9 has no address; those known: 0, 1"):
        rank_table.make("x", [9], IPS)


@pytest.mark.parametrize("made, words", [
    ([], "no JSON object"), ({"group_list": []}, "older form"),
    (table(status="x"), "status is 'x'"),
    (table(version="2"), "version is '2'"), (table(server_list=[]), "server_list"),
    (table(server_count=1), "server_count"),
    (table(server_list=[1]), "server_id"),
    (table(server_list=[{"server_id": "a", "device": []}]), "no list of devices"),
    (changed(lambda t: t["server_list"][0].update(server_id="x" * 65)), "server_id"),
    (changed(lambda t: device(t).update(rank_id=0)), "rank_id 0"),
    (changed(lambda t: device(t).update(rank_id="9")), "rank_id"),
    (changed(lambda t: device(t).update(rank_id="1")), "instead of 0 to 7"),
    (changed(lambda t: device(t).update(device_id="1")), "device_id twice"),
    (changed(lambda t: device(t).update(device_ip="x")), "'x'"),
    (changed(lambda t: device(t).pop("device_ip")), "no device_ip"),
    (changed(lambda t: device(t).update(device_ip=IPS[1])), "share one")])
def test_every_fault_is_named(made, words):
    with pytest.raises(ConfigError) as caught:
        rank_table.check(made)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_several_servers():
    def server(name, first, ips=True):
        return {"server_id": name, "device": [
            dict({"device_id": str(i), "rank_id": str(first + i)},
                 **({"device_ip": "10.1.%d.%d" % (first, i)} if ips else {})) for i in range(2)]}

    rank_table.check(table(server_count="2", server_list=[server("a", 0), server("b", 2)]), 4)
    for servers, words in [([server("a", 0), server("a", 2)], "server_id"),
                           ([server("a", 0, False), server("b", 2, False)],
                            "several servers need")]:
        with pytest.raises(ConfigError, match=words):
            rank_table.check(table(server_count="2", server_list=servers))
    with pytest.raises(ConfigError,
                       match="has 8 ranks, 4 are started; write one for 4, or start 8"):
        rank_table.check(table(), 4)


def test_the_script_writes_a_table_from_hccn_conf_and_checks_it(repo_root, tmp_path):
    script = os.path.join(repo_root, "scripts", "make_rank_table.py")

    def run(*argv):
        return subprocess.run([sys.executable, script] + list(argv), cwd=str(tmp_path),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True)

    (tmp_path / "hccn.conf").write_text("address_0=10.0.0.10\nnetmask_0=255.255.255.0\n"
                                        "address_1=10.0.0.11\n")
    done = run("--server_id", "10.0.0.1", "--devices", "0,1", "--hccn_conf", "hccn.conf", "--out",
               "8p.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "wrote 8p.json: 2 devices of 10.0.0.1\n"
    assert device(json.loads((tmp_path / "8p.json").read_text()), 1)["device_ip"] == "10.0.0.11"
    done = run("--check", "8p.json", "--size", "2")
    assert (done.returncode, done.stdout) == (0, "8p.json is a rank table of 2 devices\n")
    for argv, words in [(["--check", "8p.json", "--size", "8"], "2 ranks, 8 are started"),
                        (["--check", "none"], "No such"),
                        (["--hccn_conf", "none"], "--hccn_conf"),
                        (["--devices", "0,1", "--device_ips", "10.0.0.1"], "1 addr")]:
        done = run(*argv)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
