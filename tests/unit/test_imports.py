"""What must work where TensorFlow is not installed, and names that may occur in one place only."""

import os
import pkgutil
import re
import subprocess
import sys

import pytest

import gru4rec
import gru4rec.data
from tests import serving_helpers

ROOT = os.path.dirname(os.path.abspath(gru4rec.__file__))
DATA = ["gru4rec.data"] + ["gru4rec.data." + m.name for m in pkgutil.iter_modules(gru4rec.data.__path__)]
WITHOUT_TF = ["gru4rec"] + DATA + ["gru4rec." + name for name in (
    "data.schedule", "evaluation.metrics", "config", "errors", "model.lazy_adam", "model.learning_rate", "runlog.rows",
    "engine",
    "device",
    "main",
    "evaluation.protocol",
    "training.validation", "compare", "baselines", "evaluation.baselines.rules", "evaluation.baselines.neighbours",
    "evaluation.baselines.popularity",
    "export.__main__", "export.directory", "export.source", "export.signature", "export.atc", "export.onnx_model",
    "offline.__main__", "export.exported", "offline.replay", "offline.runtimes", "offline.acl_runtime",
    "checkpoint.bundle_reader", "checkpoint", "recommend.__main__", "recommend.model", "recommend.cli",
    "recommend.list_files",
    "checkpoint.weights",
    "serve.batcher", "serve.server", "serve.sessions", "serve.reload", "serve.guard", "serve.__main__",
    "report.__main__", "report.page", "report.bias")]

# An import of any of these is an error, as on a machine that has none of them.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_core", "npu_bridge", "npu_device"):
            raise ImportError("%s is blocked" % name)
sys.meta_path.insert(0, Block())
"""


def python(code, *argv):
    return subprocess.run([sys.executable, "-c", BLOCK + code] + list(argv), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)


def test_onnx_is_exported_without_tensorflow(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
    serving_helpers.save(tmp_path, monkeypatch)
    done = python("from gru4rec.export.__main__ import main\nsys.exit(main(sys.argv[1:]))", "--checkpoint_dir",
                  str(tmp_path), "--format", "onnx", "--out", str(tmp_path / "out"))
    assert done.returncode == 0 and "onnx: 40 items, epoch 0" in done.stdout, done.stderr
    assert (tmp_path / "out" / "step.onnx").exists()


def sources():
    for directory, _, names in os.walk(ROOT):
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                with open(path, encoding="utf-8") as text:
                    yield os.path.relpath(path, ROOT).replace(os.sep, "/"), text.read()


def test_the_block_works():
    assert "is blocked" in python("import tensorflow").stderr
    assert "is blocked" in python("import gru4rec.tf_compat").stderr


def test_everything_left_of_the_graph_imports_without_tensorflow():
    assert len(DATA) > 5
    done = python("import importlib\n"
                  "for name in %r: importlib.import_module(name)\n"
                  "assert 'tensorflow' not in sys.modules\nprint('imported')" % (WITHOUT_TF,))
    assert (done.stdout, done.returncode) == ("imported\n", 0), done.stderr


@pytest.mark.parametrize("name",
                         ["gru4rec.data.schedule", "gru4rec.evaluation.metrics", "gru4rec.config", "gru4rec.model.lazy_adam"])
def test_each_imports_on_its_own(name):
    done = python("import %s" % name)
    assert done.returncode == 0, done.stderr


def test_help_needs_no_tensorflow_and_no_pandas():
    done = python("sys.modules['pandas'] = None\nfrom gru4rec.main import main\nsys.exit(main(sys.argv[1:]))", "--help")
    assert done.returncode == 0, done.stderr
    assert "--batch_size" in done.stdout and "default: 50]" in " ".join(done.stdout.split())


def test_a_wrong_flag_is_found_without_tensorflow():
    done = python("from gru4rec.main import main\nsys.exit(main(sys.argv[1:]))", "--loss", "hinge")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "--loss" in done.stderr and "hinge" in done.stderr


def test_the_vendor_adapter_is_named_in_one_module_only():
    naming = {path for path, text in sources() if re.search(r"npu_bridge|npu_device", text)}
    assert naming == {"device/npu.py"}


def test_tensorflow_is_imported_in_one_module_only():
    importing = {path for path, text in sources() if re.search(r"^\s*(import|from) tensorflow\b", text, re.MULTILINE)}
    assert importing - {"device/npu.py"} == {"tf_compat.py"}


def test_no_keras_and_no_contrib():
    for path, text in sources():
        assert not re.search(r"\bkeras\b|\btf\.contrib\b|tensorflow\.contrib", text), path


def test_without_tqdm_there_is_no_bar_and_no_error(monkeypatch):
    from gru4rec.command import process
    monkeypatch.setitem(sys.modules, "tqdm", None)  # an import of it raises ImportError
    with process.progress("train", "step")(10) as bar:
        assert bar is None
