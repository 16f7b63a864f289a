"""The commands and Python lines of README and docs are run, in the order of their page, and must
print what the page shows (tests/docs/pages.py says how a page is read).

Each page has a directory of its own with small files of the names that the pages use, and with
what the README's commands leave there. A command runs in this process as `python -m` would run it.
"""

import contextlib
import gzip
import io
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

from gru4rec.data import sample, synthetic
from tests.docs import pages

pytestmark = [pytest.mark.tf, pytest.mark.once]

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIRST = "README.md"

# Commands that this test does not run: start of the command line -> (reason, test that runs it
# with a stand-in for what is missing, or None).
NOT_RUN = {
    "pip install -e": ("changes the installation; the extra that it names must exist", None),
    "sh run_npu_1p.sh": (
        "needs an NPU", "tests/e2e/test_scripts.py::"
        "test_npu_script_exports_defaults_and_keeps_what_is_set"),
    "sh run_npu_1p.sh --data_path=DIR": (
        "needs an NPU", "tests/e2e/test_scripts.py::"
        "test_data_path_is_the_older_ports_way_to_start"),
    "sh run_npu_8p.sh": (
        "needs eight NPUs", "tests/e2e/test_scripts.py::"
        "test_one_process_for_each_device_then_one_evaluates"),
    "python scripts/make_rank_table.py": (
        "reads the addresses of an NPU host", "tests/unit/test_rank_table.py::"
        "test_the_script_writes_a_table_from_hccn_conf_and_checks_it"),
    "SOC_VERSION=Ascend310P3 sh frozen/step/atc.sh": (
        "needs CANN's atc", "tests/e2e/test_export_command.py::test_atc_gets_the_whole_command"),
    "python -m gru4rec.offline --model_dir frozen --test_path next_day.tsv --runtime acl": (
        "needs pyACL", "tests/e2e/test_export_command.py::test_om_files_replay_through_pyacl"),
    "tensorflow_model_server": ("TensorFlow Serving; the page says that it was not run", None),
    'curl -d \'{"signature_name"': ("asks TensorFlow Serving; not sent, as the page says", None),
    "export TF_CONFIG=": (
        "names two hosts", "tests/e2e/test_cluster_run.py::"
        "test_a_stop_is_obeyed_by_all_after_the_same_step_and_resumed_bit_for_bit"),
    "python -m gru4rec.main --train 1 --train_path clicks.tsv --checkpoint_dir runs/a "
    "--cluster_timeout 300": (
        "waits for the second host", "tests/e2e/test_cluster_run.py::"
        "test_a_stop_is_obeyed_by_all_after_the_same_step_and_resumed_bit_for_bit"),
    "sh scripts/test_machines.sh": (
        "runs this suite, for hours", "tests/e2e/test_machines_script.py::"
        "test_settings_of_a_row_reach_the_suite_and_the_run_is_written_down"),
    "python scripts/preset_results.py": (
        "36 processes", "tests/docs/test_result_scripts.py::"
        "test_preset_results_are_those_of_the_commands"),
    "python scripts/popularity_picture.py": (
        "needs the three runs of another page", "tests/docs/test_result_scripts.py::"
        "test_the_picture_of_popularity_is_of_the_runs_given"),
    "python scripts/compare_seed_log.py": (
        "needs a published log", "tests/docs/test_compare_seed_log.py::"
        "test_the_oldest_sessions_are_those_with_the_earliest_first_event"),
    "python scripts/replay_days.py": ("trains on three days of real data, for minutes", None),
}
# Commands that run before a release only, for the time they take.
LONG = ("sh scripts/launch_local.sh 2",)
# Flags that keep a training short where the page shows nothing of it: page -> flags.
SHORT = {"docs/evidence/results.md": ["--epoch", "1", "--size", "8", "--xla", "off"]}
STATUS = {"python -m gru4rec.device": 1}  # "no": there is no NPU here; all others end with 0
NEEDS = {  # command -> modules without which it cannot run here
    "python -m gru4rec.prepare": ["duckdb"], "python -m gru4rec.serve": ["fastapi", "uvicorn"],
    "curl": ["fastapi", "uvicorn"], "onnx": ["onnx", "onnxruntime"], "parquet": ["pyarrow"],
}


def page_names():
    """Pages whose commands are run, relative to the checkout; the README first."""
    found = []
    for directory, _, names in os.walk(os.path.join(ROOT, "docs")):
        found += [os.path.relpath(os.path.join(directory, name), ROOT).replace(os.sep, "/")
                  for name in names if name.endswith(".md")]
    return [FIRST, "README.zh-CN.md"] + sorted(found)


def read(name):
    with open(os.path.join(ROOT, *name.split("/")), encoding="utf-8") as file:
        return file.read()


PAGES = {name: pages.blocks(read(name)) for name in page_names()}


def all_commands():
    return [(name, command) for name, blocks in PAGES.items()
            for block in blocks if block.language == "sh" for command in pages.commands(block)]


def entry(table, command):
    """The longest key of a table that a command line begins with, or None."""
    return max((key for key in table if command.startswith(key)), key=len, default=None)


class Page:
    """Runs the blocks of one page in one directory."""

    def __init__(self, name, directory, long=False):
        self.name, self.directory, self.long = name, str(directory), long
        self.namespace, self.server, self.port, self.skipped = {}, None, None, []

    def run(self):
        """Run every block; raises AssertionError with page and line of the first that differs."""
        try:
            for block in PAGES[self.name]:
                if block.language == "sh":
                    self._shell(block)
                elif block.language == "python":
                    self._python(block)
        finally:
            self.stop()
        return self

    def _shell(self, block):
        out, err, complete = "", "", True
        for command in pages.commands(block):
            if entry(NOT_RUN, command) or (command.startswith(LONG) and not self.long):
                complete = complete and command.startswith("pip ")
                continue
            missing = [name for key, names in NEEDS.items() if key in command for name in names
                       if not _importable(name)]
            if missing or (command.startswith("curl") and not shutil.which("curl")):
                self.skipped.append("%s (%s)" % (command, missing or "no curl"))
                complete = False
                continue
            status, printed, said = self._command(command)
            expected = STATUS.get(entry(STATUS, command), 0)
            assert status == expected, "%s:%d: %s\nends with %s\n%s" % (
                self.name, block.line, command, status, said[-3000:])
            out, err = out + printed, err + said
        if complete:
            self._compare(block, out, err)

    def _python(self, block):
        missing = [name for name in re.findall(r"^import (\w+)$", block.text, re.MULTILINE)
                   if not _importable(name)]
        if "gru4rec.data import dataset" in block.text:
            missing += [name for name in ("duckdb", "pyarrow") if not _importable(name)]
        if missing:
            self.skipped.append("%s:%d (%s)" % (self.name, block.line, missing))
            return
        _, out, err = self._inside(lambda: exec(compile(
            block.text, "%s:%d" % (self.name, block.line), "exec"), self.namespace))
        self._compare(block._replace(stdout=block.stdout or pages.printed_of(block.text)), out, err)

    def _compare(self, block, out, err):
        place = "%s:%d: " % (self.name, block.line)
        if block.stdout is not None:
            why = pages.difference(block.stdout, out, self._has_recorded_model())
            assert why is None, "%s%s\nprinted:\n%s" % (place, why, out)
        if block.stderr is not None:
            why = pages.missing_line(block.stderr, err)
            assert why is None, "%s%r is not said:\n%s" % (place, why, err)

    def _has_recorded_model(self):
        """Whether `checkpoint` is the model that the pages were written with: a training on this
        processor, by this TensorFlow, has the losses of the recorded run.
        """
        path = os.path.join(self.directory, "checkpoint", "metrics.jsonl")
        if not os.path.exists(path):
            return True
        with open(path) as file:
            losses = [row["loss"] for row in map(json.loads, file) if row["kind"] == "epoch"]
        recorded = json.loads(read("docs/results/sample_fast_tf2.json"))["rows"]["epoch"]
        return losses == [row["loss"] for row in recorded]

    def _command(self, command):
        """(exit status, stdout, stderr) of a command line."""
        variables, words = pages.words(command)
        assert not variables, command
        if words[:3] == ["python", "-m", "gru4rec.serve"]:
            return self._serve(words)
        if words[0] == "curl":
            address = "127.0.0.1:%s" % self.port
            return self._outside([word.replace("localhost:8000", address) for word in words]
                                 + ["-sSf", "-w", "\n"])
        if words[:2] == ["python", "-m"]:
            return self._inside(lambda: runpy.run_module(words[2], run_name="__main__",
                                                         alter_sys=True),
                                words[2:] + self._short(words))
        if words[0] == "python":
            path = os.path.join(ROOT, words[1])
            return self._inside(lambda: runpy.run_path(path, run_name="__main__"), words[1:])
        if words[0] == "mkdir":
            return self._outside(words)
        if words[0] == "sh":
            return self._outside(["sh", os.path.join(ROOT, words[1])] + words[2:])
        raise AssertionError("%s: nobody knows how to run %s" % (self.name, command))

    def _short(self, words):
        """Flags to add: small files are not worth compiling for, and see SHORT."""
        if words[2] != "gru4rec.main" or {"0", "list"} & set(words):
            return []
        if self.name in SHORT:
            return SHORT[self.name]
        return ["--xla", "off"] if "--train_path" in words else []

    def _inside(self, job, argv=None):
        out, err = io.StringIO(), io.StringIO()
        before = (os.getcwd(), sys.argv, sys.path[:], dict(os.environ),
                  {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)})
        try:
            os.chdir(self.directory)
            sys.argv = argv or sys.argv
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), \
                    warnings.catch_warnings():
                warnings.simplefilter("ignore")  # runpy: the module was imported before
                try:
                    job()
                    status = 0
                except SystemExit as end:
                    status = end.code or 0
        finally:
            os.chdir(before[0])
            sys.argv, sys.path[:] = before[1], before[2]
            os.environ.clear()
            os.environ.update(before[3])
            for number, handler in before[4].items():
                signal.signal(number, handler)
        return status, out.getvalue(), err.getvalue()

    def _outside(self, words):
        done = subprocess.run(words, cwd=self.directory, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True, timeout=300,
                              env=dict(os.environ, PYTHON=sys.executable))
        return done.returncode, done.stdout, done.stderr

    def _serve(self, words):
        """Start the server, which answers until the end of the page, at a port that is free."""
        self.server = subprocess.Popen([sys.executable] + words[1:] + ["--port", "0"],
                                       cwd=self.directory, stdout=subprocess.PIPE,
                                       universal_newlines=True)
        line = self.server.stdout.readline()
        self.port = line.strip().rpartition(":")[2]
        assert self.port.isdigit(), line
        return 0, line.replace(":" + self.port, ":8000"), ""

    def stop(self):
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            assert self.server.wait(60) == 0
            self.server.stdout.close()
            self.server = None


def _importable(name):
    try:
        __import__(name)
        return True
    except ImportError:
        return False


def events(path, seed, sessions=240, items=40):
    """A small file of events under a name that a page uses."""
    frame = synthetic.markov_sessions(sessions, items, seed)
    os.makedirs(os.path.dirname(str(path)), exist_ok=True)
    frame.to_csv(str(path), sep="\t", index=False, compression="infer")
    return frame


def prepare(directory):
    """Everything that the pages' commands read and do not make."""
    place = os.path.join(str(directory), "")
    for seed, name in enumerate(("clicks.tsv", "next_day.tsv", "today.tsv",
                                 "real/rsc15_64/train.tsv.gz", "real/rsc15_64/test.tsv.gz",
                                 "rsc15_train_full.txt")):
        events(place + name, seed)
    with gzip.open(sample.path("test"), "rt") as source, open(place + "sessions.tsv", "w") as out:
        out.writelines(line for _, line in zip(range(200), source))
    with open(place + "yoochoose-clicks.dat", "w") as out:
        out.writelines("%d,2014-04-0%dT10:%02d:09.277Z,%d,0\n" % (s, 1 + s % 5, k, 7 + (s + k) % 9)
                       for s in range(200) for k in range(2 + s % 3))
    rows = [(u, a, 1400000000 + 43200 * u + 60 * a, ("view", "click", "buy")[(u + a) % 3])
            for u in range(40) for a in range(6)]
    with open(place + "log.csv", "w") as out:
        out.write("user,article,when\n" + "".join("u%d,%d,%d\n" % row[:3] for row in rows))
    if _importable("pyarrow"):
        import pandas as pd
        pd.DataFrame(rows, columns=["s", "i", "t", "kind"]).to_parquet(place + "log.parquet")
    _older_checkpoint(place)


def _older_checkpoint(place):
    """old/gru-model-2: a checkpoint of the older port, for rsc15_train_full.txt."""
    from gru4rec.tf_compat import tf
    num_items, hidden = len(events(place + "rsc15_train_full.txt", 5).ItemId.unique()), 4
    cell = "gru_layer/multi_rnn_cell/cell_0/gru_cell/"
    shapes = {"gru_layer/embedding": [num_items, hidden],
              "gru_layer/softmax_w": [num_items, hidden], "gru_layer/softmax_b": [num_items],
              cell + "gates/kernel": [2 * hidden, 2 * hidden],
              cell + "gates/bias": [2 * hidden], cell + "candidate/kernel": [2 * hidden, hidden],
              cell + "candidate/bias": [hidden], "global_step": []}
    random = np.random.RandomState(0)
    os.makedirs(place + "old")
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.Saver([
            tf.Variable(random.standard_normal(shape).astype(np.float32), name=name,
                        use_resource=False) for name, shape in shapes.items()])
        session.run(tf.global_variables_initializer())
        saver.save(session, place + "old/gru-model", global_step=2)


@pytest.fixture(scope="module")
def readme(tmp_path_factory):
    """The directory in which the README's commands were run, and compared."""
    from gru4rec import tf_compat
    tf_compat.setup()
    directory = tmp_path_factory.mktemp("readme")
    prepare(directory)
    Page(FIRST, directory).run()
    return directory


@pytest.fixture
def page(readme, tmp_path, monkeypatch):
    """function (page name) -> Page in a copy of that directory."""
    directory = tmp_path / "page"
    shutil.copytree(str(readme), str(directory))
    monkeypatch.setenv("REALDATA", str(directory / "real"))

    def make(name, long=False):
        return Page(name, directory, long)
    return make


@pytest.mark.slow
def test_the_commands_of_the_readme_print_what_it_shows(readme):
    assert sorted(os.listdir(str(readme / "runs"))) == ["a"]
    with open(str(readme / "checkpoint" / "metrics.jsonl")) as file:
        last = [json.loads(line) for line in file][-1]
    # near the best that any model could reach, and not beyond it (data/README.md)
    for name, best in (("recall@20", 0.8670), ("mrr@20", 0.3316)):
        assert 0.9 * best < last[name] < best + 0.006, name


@pytest.mark.parametrize("name", [
    name for name, blocks in PAGES.items() if name not in (FIRST, "README.zh-CN.md")
    and {"sh", "python"} & {block.language for block in blocks}])
def test_the_commands_of_a_page_print_what_it_shows(page, name):
    skipped = page(name).run().skipped
    if skipped:
        pytest.skip("not run here: " + "; ".join(skipped))


@pytest.mark.release
@pytest.mark.parametrize("name", sorted({name for name, command in all_commands()
                                         if command.startswith(LONG)}))
def test_the_long_commands_of_a_page_end_well(page, name):
    page(name, long=True).run()


def test_the_pages_have_many_commands():
    assert len(all_commands()) > 60
    assert sum(block.stdout is not None for blocks in PAGES.values() for block in blocks) >= 12
    assert sum(block.language == "python" for blocks in PAGES.values() for block in blocks) >= 8


def test_what_is_not_run_is_shown_somewhere_and_run_by_the_test_that_is_named():
    used = {entry(NOT_RUN, command) for _, command in all_commands()}
    assert used - {None} == set(NOT_RUN)
    assert all(any(command.startswith(start) for _, command in all_commands()) for start in LONG)
    for command, (reason, test) in NOT_RUN.items():
        assert len(reason) > 10, command
        if test:
            path, _, function = test.partition("::")
            assert "\ndef %s(" % function in read(path), test


def test_every_extra_that_a_page_installs_exists():
    extras = re.search(r"\n\[project.optional-dependencies\]\n(.*?)\n\[", read("pyproject.toml"),
                       re.DOTALL).group(1)
    known = set(re.findall(r"^(\w+) = \[", extras, re.MULTILINE))
    named = {extra for name in PAGES for extras in re.findall(r'pip install -e "\.\[([\w,]+)\]"',
                                                               read(name))
             for extra in extras.split(",")}
    assert {"cpu", "serve", "prepare", "onnx", "docs"} <= named <= known


def test_a_wrong_command_or_output_is_found(tmp_path, monkeypatch):
    for text, why in (
            ("```sh\npython -m gru4rec.compare none.csv none.csv\n```\n", "ends with 2"),
            ("```sh\npython -m gru4rec --version\n```\n```text\ngru4rec 9\n```\n", "is shown"),
            ("```python\nprint(1)  # 2\n```\n", "'2' is shown, '1' is printed"),
            ("```python\nimport sys\nsys.stderr.write('a 1')\n```\n```log\na 2\n```\n",
             "is not said"),
            ("```sh\nls\n```\n", "nobody knows")):
        monkeypatch.setitem(PAGES, "page", pages.blocks(text))
        with pytest.raises(AssertionError, match=re.escape(why)):
            Page("page", tmp_path).run()


SHOWN = "Epoch 0\tloss: 8.20\n...\nRecall@20: 0.8460\tMRR@20: 0.3110\n"
LIST = "214819156\t6.7352\n214189705\t6.3045\n"


@pytest.mark.parametrize("shown,printed,same", [
    (SHOWN, "Epoch 0\tloss: 8.24\nx\ny\nRecall@20: 0.8500\tMRR@20: 0.3050\n", True),
    (SHOWN, "Epoch 0\tloss: 8.24\nRecall@20: 0.8460\tMRR@20: 0.3110\n", True),
    (SHOWN, "Epoch 1\tloss: 8.20\nRecall@20: 0.8460\tMRR@20: 0.3110\n", False),
    (SHOWN, "Epoch 0\tloss: 8.20\nRecall@20: 0.8260\tMRR@20: 0.3110\n", False),
    (SHOWN, "Epoch 0\tloss: 8.20\nRecall@20: 0.8460\tMRR@20: 0.3110\nx\n", False),
    (SHOWN, "Epoch 0\tloss: 8.20\n", False),
    ("events: 7\n", "events: 8\n", False), ("a\n", "a\nb\n", False), ("a\nb\n", "a\n", False),
    ("sequential rules: Recall@20: 0.5772\tMRR@20: 0.2221\n",
     "sequential rules: Recall@20: 0.5772\tMRR@20: 0.2222\n", False),
    ('"model":"3-136386bb012b"\n', '"model":"3-000000000000"\n', True),
    ('"model":"3-136386bb012b"\n', '"model":"4-136386bb012b"\n', False),
    ("it is ... long\n", "it is very long\n", True), ("it is ... long\n", "it was long\n", False)])
def test_what_counts_as_the_same_output(shown, printed, same):
    assert (pages.difference(shown, printed) is None) == same


def test_numpys_padding_is_no_difference():
    shown, printed = ("[214819156 214189705] [6.735288  6.103266 ]\n",
                      "[214819156 214619433] [6.855896 5.7]\n")
    assert pages.difference(shown, printed, same_model=False) is None


@pytest.mark.parametrize("printed,same,alike", [
    (LIST, True, True), (LIST.replace("6.3045", "6.3046"), True, True),
    (LIST.replace("6.3045", "6.3145"), False, True),
    (LIST.replace("6.3045", "1.3045"), False, False),
    (LIST.replace("214189705", "214912519"), False, True),
    (LIST.replace("2141", "1141"), False, False),
    (LIST[:17], False, False)])
def test_a_list_is_the_same_for_the_same_model_and_alike_for_another(printed, same, alike):
    assert (pages.difference(LIST, printed) is None) == same
    assert (pages.difference(LIST, printed, same_model=False) is None) == alike


def test_a_page_is_read_block_by_block():
    text = ("a\n```sh\npython x \\\n    y  # z\n# w\nsh '#'\n```\n\n```text\n1\n```\n"
            "b\n```tsv\nc\n```\n")
    first, second = pages.blocks(text)
    assert pages.commands(first) == ["python x y", "sh '#'"] and first.stdout == "1\n"
    assert (second.language, second.text, second.line) == ("tsv", "c\n", 13)
    for wrong in ("```\na\n```\n", "```sh\na\n", "```text\na\n```\n"):
        with pytest.raises(ValueError):
            pages.blocks(wrong)
