"""The facts that a measurement is recorded with. No TensorFlow."""

import os
import platform

import numpy as np

from gru4rec.device import machine


def test_a_value_of_proc_is_that_of_its_first_line(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Fast: 2 GHz\nmodel name\t: Slow\n")
    assert machine.proc_value(str(file), "model name") == "Fast: 2 GHz"
    assert machine.proc_value(str(file), "flags") is None
    assert machine.proc_value(str(tmp_path / "none"), "model name") is None


def test_facts_do_without_proc(monkeypatch):
    proc = {"/proc/cpuinfo": "A processor", "/proc/meminfo": "2097152 kB"}
    monkeypatch.setattr(machine, "proc_value", lambda path, name: proc.get(path))
    facts = machine.facts()
    assert facts["processor"] == "A processor" and facts["memory_gib"] == 2.0
    assert 1 <= facts["cores"] <= os.cpu_count()
    proc.clear()
    facts = machine.facts()
    assert facts["processor"] and "memory_gib" not in facts


def test_versions_are_those_of_what_is_loaded():
    assert machine.versions("numpy", "no_such_package") == {
        "python": platform.python_version(), "numpy": np.__version__}
