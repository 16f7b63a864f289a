"""Hostile input: property tests, and the cases of scripts/fuzz.py; the script runs many more
(docs/evidence/reliability.md).
"""

import importlib.util
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gru4rec import checkpoint, config
from gru4rec.checkpoint import manifest as manifests
from gru4rec.errors import Gru4RecError
from gru4rec.files import npz

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
spec = importlib.util.spec_from_file_location("fuzz", os.path.join(ROOT, "scripts", "fuzz.py"))
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8)
CONFIG = config.parse([]).to_dict()


@pytest.mark.parametrize("name", sorted(set(fuzz.TARGETS) - {"tensors", "parquet_events"}))
def test_no_case_does_more_than_being_refused(name):
    count = fuzz.run(name, 60, 99)
    assert count["refused"] > 30 and count["refused"] + count["taken"] == 60


def test_no_parquet_file_does_more_than_being_refused():
    pytest.importorskip("pyarrow")
    assert sum(fuzz.run("parquet_events", 40, 99).values()) == 40


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_configuration_of_any_values_is_taken_or_refused(data):
    changed = json.loads(json.dumps(CONFIG))
    group = data.draw(st.sampled_from(sorted(CONFIG)))
    changed[group][data.draw(st.sampled_from(sorted(CONFIG[group])))] = data.draw(JSON)
    try:
        found = config.from_dict(changed)
    except Gru4RecError:
        return
    assert config.from_dict(json.loads(json.dumps(found.to_dict()))).to_dict() == found.to_dict()


@given(value=JSON,
       key=st.sampled_from(["epoch", "step", "num_items", "config", "files", "position", "data",
                            "phase",
                                        "validation", "format"]))
@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_manifest_of_any_values_is_taken_or_refused(tmp_path, key, value):
    whole = dict(epoch=0, step=7, num_steps=70, num_items=5, config={}, files={}, position=None,
                 data=None, phase="train",
                 validation=None)
    made = manifests.make(**dict(whole, **{key: value} if key != "format" else {}))
    if key == "format":
        made["format"] = value
    path = tmp_path / "gru-model-0.json"
    path.write_text(manifests.dump(made), encoding="utf-8", errors="surrogatepass")
    try:
        assert manifests.read(str(path))["num_steps"] == 70
    except Gru4RecError as error:
        assert str(path) in str(error)


def test_names_in_a_manifest_are_never_opened(tmp_path, monkeypatch):
    """Whatever it lists, only the files that the checkpoint's own name implies are looked at."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("secret")
    names = ["../secret", str(tmp_path / "secret"), "gru-model-0.index"]
    made = manifests.make(epoch=0, step=7, num_steps=70, num_items=5, config=CONFIG, position=None,
                          data=None, phase=None,
                          validation=None, files={name: [6, "0"] for name in names})
    (inside / "gru-model-0.json").write_text(manifests.dump(made))
    opened, real = [], open
    monkeypatch.setattr("builtins.open", lambda path, *args,
                        **more: opened.append(str(path)) or real(path, *args, **more))
    with pytest.raises(Gru4RecError, match="gru-model-0.index is damaged"):
        checkpoint.pick(str(inside))
    assert opened and all(os.path.dirname(path) == str(inside) for path in opened)


def test_an_array_file_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    np.savez_compressed(str(tmp_path / "packed.npz"), a=np.zeros(10 ** 6))
    with pytest.raises(ValueError, match="a.npy is compressed"):
        npz.read(str(tmp_path / "packed.npz"))
