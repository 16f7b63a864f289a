"""What must work where TensorFlow is not installed, and names that may occur in one place only."""

import ast
import os
import re
import subprocess
import sys

import pytest

import gru4rec
from tests import serving_helpers

ROOT = os.path.dirname(os.path.abspath(gru4rec.__file__))
# Modules that import TensorFlow; all others do without it. Rooms end with a dot.
WITH_TF = (
    "device.base", "device.describe", "device.hashed", "device.host", "device.npu", "device.probe",
    "device.selftest", "engine.device_loop", "engine.loop", "engine.parallel", "engine.plain",
    "engine.sources", "engine.variables", "evaluation.evaluator", "evaluation.sharded",
    "export.frozen_pb", "export.graphs", "export.saved_model", "graph.", "parallel.collectives",
    "parallel.communicator", "recommend.tf_network", "tf_compat",
)
WITH_EXTRA = ("serve.app",)  # imports a library of the extra `serve`

# Which room may import which, from the bottom to the top: what a room may import stands above it.
# Imports inside functions count. A new arrow is a decision: write it here, or put the code where no
# arrow is needed.
ROOMS = {
    "errors": "",
    "version": "",
    "files": "errors",
    "command": "errors version",
    "tf_compat": "command",
    "runlog": "errors files tf_compat",
    "model": "",
    "parallel": "errors command tf_compat",
    "graph": "tf_compat model parallel",
    "config": "errors command",
    "data": "errors files command",
    "device": "errors version command tf_compat runlog parallel config",
    "engine": "errors tf_compat model graph data device",
    "checkpoint": "errors files tf_compat model config data",
    "evaluation": "errors files command tf_compat runlog model parallel graph config data device "
                  "engine checkpoint",
    "training": "errors files command tf_compat runlog model parallel config data device engine "
                "checkpoint evaluation",
    "recommend": "errors files command tf_compat model graph config data device engine checkpoint",
    "serve": "errors command runlog checkpoint recommend",
    "export": "errors version files command tf_compat model graph config data checkpoint",
    "offline": "errors files command tf_compat runlog config data evaluation export",
    "report": "errors files command runlog data recommend",
    "prepare": "errors files command data",
}
# Modules in the root: the ground, which every room may import as the table says, and commands,
# which no room imports.
GROUND = ("errors", "version", "tf_compat")
COMMANDS = ("__main__", "baselines", "cli", "compare", "import_ckpt", "main")

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
    done = python("from gru4rec.export.__main__ import main\nsys.exit(main(sys.argv[1:]))",
                  "--checkpoint_dir",
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


def modules():
    for path, _ in sources():
        parts = [part for part in path[:-3].split("/") if part != "__init__"]
        yield ".".join(["gru4rec"] + parts)


def test_everything_else_imports_without_tensorflow():
    starts = tuple("gru4rec.%s." % start.rstrip(".") for start in WITH_TF + WITH_EXTRA)
    names = [name for name in modules() if not (name + ".").startswith(starts)] + ["gru4rec.graph"]
    assert len(names) > 100
    done = python("import importlib\n"
                  "for name in %r: importlib.import_module(name)\n"
                  "assert 'tensorflow' not in sys.modules\nprint('imported')" % (names,))
    assert (done.stdout, done.returncode) == ("imported\n", 0), done.stderr


@pytest.mark.parametrize("name",
                         ["gru4rec.data.schedule", "gru4rec.evaluation.metrics", "gru4rec.config",
                          "gru4rec.model.lazy_adam"])
def test_each_imports_on_its_own(name):
    done = python("import %s" % name)
    assert done.returncode == 0, done.stderr


def test_help_needs_no_tensorflow_and_no_pandas():
    done = python("sys.modules['pandas'] = None\nfrom gru4rec.main import "
                  "main\nsys.exit(main(sys.argv[1:]))", "--help")
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
    importing = {path for path,
                 text in sources() if re.search(r"^\s*(import|from) tensorflow\b", text,
                                                re.MULTILINE)}
    assert importing - {"device/npu.py"} == {"tf_compat.py"}


def test_no_keras_and_no_contrib():
    for path, text in sources():
        assert not re.search(r"\bkeras\b|\btf\.contrib\b|tensorflow\.contrib", text), path


def test_without_tqdm_there_is_no_bar_and_no_error(monkeypatch):
    from gru4rec.command import process
    monkeypatch.setitem(sys.modules, "tqdm", None)  # an import of it raises ImportError
    with process.progress("train", "step")(10) as bar:
        assert bar is None


def imports_of(path, text, modules):
    """Modules of this package that a module imports, wherever in it; relative imports too."""
    package = path[:-3].split("/")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[:len(package) - node.level + 1]
                base = ".".join(["gru4rec"] + above + ([node.module] if node.module else []))
            for name in node.names:
                full = "%s.%s" % (base, name.name)
                if base.split(".")[0] == "gru4rec":
                    yield full if full in modules else base
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "gru4rec":
                    yield name.name


def arrows(files):
    """module -> set of the modules it imports; files: pairs (path below gru4rec/, text)."""
    files = list(files)
    names = {path: ".".join(["gru4rec"] + [part for part in path[:-3].split("/")
                                           if part != "__init__"]) for path, _ in files}
    modules = set(names.values())
    return {names[path]: set(imports_of(path, text, modules)) - {names[path]} for path,
            text in files}


def room_of(module, packages):
    """Room of a module, a module of the ground as itself, or "commands"."""
    parts = module.split(".")
    if len(parts) == 1 or (parts[1] not in packages and parts[1] not in GROUND):
        return "commands"
    return parts[1]


def circle_of(graph):
    """A circle of a graph (node -> set of nodes) as a list of nodes; None if it has none."""
    done, path = set(), []

    def walk(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        for other in sorted(graph.get(node, ())):
            circle = walk(other)
            if circle:
                return circle
        path.pop()
        done.add(node)
        return None

    for node in sorted(graph):
        circle = walk(node)
        if circle:
            return circle
    return None


def between_folders(graph):
    """The arrows between folders, rooms within rooms counted apart: node -> set of nodes.

    A module in the root is a node of its own.
    """
    packages = {module.rpartition(".")[0] for module in graph} - {"", "gru4rec"}

    def folder(module):
        parent = module.rpartition(".")[0]
        return parent if module not in packages and parent in packages else module

    folders = {}
    for module, others in graph.items():
        own = folder(module)
        folders.setdefault(own, set()).update({folder(other) for other in others} - {own})
    return folders


def forbidden(files):
    """What is wrong with the arrows between rooms: list of text, empty if nothing is."""
    graph = arrows(files)
    packages = {module.split(".")[1] for module in graph if module.count(".") > 1}
    wrong, used = [], set()
    for module in sorted(graph):
        room = room_of(module, packages)
        for other in sorted(graph[module]):
            to = room_of(other, packages)
            if room == to:
                continue
            used.add((room, to))
            if room != "commands" and to not in ROOMS.get(room, "").split():
                wrong.append("%s imports %s: %s may import %s"
                             % (module, other, room, ROOMS.get(room, "nothing")
                                                                  or "nothing"))
    wrong += ["%s is no room of the table" % room for room in sorted(packages - set(ROOMS))]
    for name, nodes in (("a circle", graph), ("a circle of rooms", between_folders(graph))):
        circle = circle_of(nodes)
        if circle:
            wrong.append("%s: %s" % (name, " -> ".join(circle)))
    return wrong, used


def test_no_import_climbs_and_no_circle():
    wrong, used = forbidden(sources())
    assert wrong == []
    written = {(room, to) for room, below in ROOMS.items() for to in below.split()}
    assert written - used == set()  # an arrow that nothing needs any more


def test_the_table_of_rooms_has_no_arrow_that_climbs():
    order = list(ROOMS)
    for room, below in ROOMS.items():
        for to in below.split():
            assert order.index(to) < order.index(room), (room, to)


@pytest.mark.parametrize("path, text, said", [
    ("files/durable.py", "def save():\n    from gru4rec.training import loop\n",
     "files may import errors"),
    ("model/state.py", "from ..config import groups\n", "model may import nothing"),
    ("graph/step.py", "import gru4rec.device.npu\n",
     "gru4rec.graph.step imports gru4rec.device.npu"),
    ("serve/app.py", "from gru4rec import main\n", "gru4rec.serve.app imports gru4rec.main"),
    ("data/vocab.py", "from gru4rec.data import dataset\n", "a circle: gru4rec.data"),
    ("evaluation/baselines/rules.py", "from gru4rec.evaluation import metrics\n",
     "a circle of rooms: gru4rec.evaluation -> gru4rec.evaluation.baselines"),
    ("attic/old.py", "", "attic is no room of the table")])
def test_a_wrong_import_is_found(path, text, said):
    files = dict(sources())
    files[path] = files.get(path, "") + "\n" + text
    wrong, _ = forbidden(files.items())
    assert any(said in line for line in wrong), wrong


def test_only_ground_and_commands_lie_in_the_root():
    root = {path[:-3] for path, _ in sources() if "/" not in path}
    assert root == {"__init__"} | set(GROUND) | set(COMMANDS)


def test_every_room_says_what_it_is_for():
    for path, text in sources():
        if path.endswith("__init__.py"):
            line = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
            assert 20 < len(line) <= (130 if path == "__init__.py" else 100), path


def below(room):
    """Rooms that a room may import, and those that they may import."""
    return set(ROOMS[room].split()).union(*map(below, ROOMS[room].split()))


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in GROUND])
def test_a_room_names_the_highest_rooms_it_may_import(room):
    allowed = set(ROOMS[room].split()) - set(GROUND)
    highest = {one for one in allowed if not any(one in below(other) for other in allowed)}
    with open(os.path.join(ROOT, room, "__init__.py"), encoding="utf-8") as file:
        line = file.readline().strip().replace('"""', "")
    assert line.endswith(" On top of %s." % (", ".join(sorted(highest)) or "nothing")), line


def functions():
    """Yields (place, function node) of every function and method of the package."""
    for path, text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield "%s:%d %s" % (path, node.lineno, node.name), node


def test_functions_are_short_and_take_few_arguments():
    """At most 60 lines, docstring included, and 8 arguments; self and cls do not count."""
    places = list(functions())
    assert len(places) > 500
    for place, node in places:
        last = max(getattr(part, "lineno", 0) for part in ast.walk(node))
        assert last - node.lineno < 60, place
        names = [arg.arg for arg in node.args.args + node.args.kwonlyargs]
        assert len(names) - (names[:1] in (["self"], ["cls"])) <= 8, place
