"""The trails of CONTRIBUTING.md are true: each change is made, in a copy, in the files it names.

A trail is a section "### A new loss" whose numbered steps each begin with a path. For every trail
this file keeps a small change of that kind as insertions at anchors. A test copies the package and
its tests, compares the paths of the trail with those of the change, makes the change, runs what it
is for by the real command, and runs the tests that the change brought.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Dict, NamedTuple, Tuple

import pytest

PAGE = "CONTRIBUTING.md"
SERVE = ("fastapi", "uvicorn", "prometheus_client", "orjson")  # of the extra `serve`


class Insert(NamedTuple):
    """Text to insert directly behind an anchor, or in front of it."""

    anchor: str  # stands in the file exactly once
    text: str
    in_front: bool = False


class Change(NamedTuple):
    """One change of the kind that a trail is about."""

    title: str                            # of the trail
    sibling: str                          # an existing one of the kind, as pages of docs name it
    edits: Dict[str, Tuple[Insert, ...]]  # path -> what is inserted
    new_files: Dict[str, str] = {}        # path -> text; its directory stands in the trail
    quoted: str = ""                      # the sibling as the code of the package spells it


CHANGES = {change.title: change for change in (
    Change(
        "A new loss", "top1-max", quoted='"top1-max"', edits={
            "gru4rec/config/groups.py": (
                Insert('    "top1-max": (', '    "margin": ("tanh", "linear"),\n', True),),
            "gru4rec/graph/losses.py": (
                Insert("def per_lane(", '''def margin(r_bm, columns):
    """Sum over live j of max(0, 1 - r_ii + r_ij) / M, j = i included."""
    terms = tf.nn.relu(1.0 + r_bm - _target(r_bm, columns))
    return tf.reduce_sum(columns.live * terms, 1) / _count(columns.live)


''', True),
                Insert('"top1-max": top1_max', ', "margin": margin')),
            "gru4rec/model/divergence.py": (Insert('("top1", "top1-max"', ', "margin"'),),
            "tests/parity/family.py": (
                Insert("    if not negatives:\n", '''    if model.loss == "margin":
        terms = [1.0 - r[own] + r[j] for j in columns]
        return sum(term if term.real > 0 else 0.0 for term in terms) / m
''', True),),
            "tests/parity/test_family.py": (
                Insert("CASES = {\n", '    "margin": dict(ADAGRAD, loss="margin"),\n'),),
        }),
    Change(
        "A new optimizer", "rmsprop", quoted='"rmsprop"', edits={
            "gru4rec/config/groups.py": (Insert('"adagrad", "rmsprop"', ', "average"'),),
            "gru4rec/model/state.py": (Insert('"rmsprop": ("/RMSProp",)',
                                              ', "average": ("/Average",)'),),
            "gru4rec/graph/optimizers.py": (
                Insert("def _sgd(", '''def _average(slots, gradient, lr):
    mean = 0.9 * slots[0] + 0.1 * gradient
    return lr * mean, (mean,)


''', True),
                Insert('"sgd": _sgd', ', "average": _average'),
                Insert('training.optimizer == "rmsprop"', 'training.optimizer == "average" or ',
                       True)),
            "tests/parity/family.py": (
                Insert('"rmsprop": 1,', ' "average": 1,'),
                Insert('        elif training.optimizer == "rmsprop":\n',
                       '''        elif training.optimizer == "average":
            kept = [0.9 * old[0] + 0.1 * g]
            move = lr * kept[0]
''', True)),
            "tests/parity/test_family.py": (
                Insert("CASES = {\n", '    "average": dict(optimizer="average", lr=0.1),\n'),),
        }),
    Change(
        "A new metric", "ndcg", quoted='"ndcg', edits={
            "gru4rec/config/groups.py": (Insert('"mrr", "ndcg"', ', "first"'),),
            "gru4rec/evaluation/metrics.py": (
                Insert("def of_ranks(", '''def first(ranks, num_misses=0):
    """Share of the targets that are at place 1."""
    return float((np.asarray(ranks) < 2).sum()) / (len(ranks) + num_misses)


''', True),
                Insert("ndcg=gain", ", first=first(ranks, num_misses)")),
            "gru4rec/runlog/lines.py": (Insert('"ndcg": "NDCG"', ', "first": "First"'),),
            "gru4rec/runlog/tensorboard.py": (Insert('"ndcg@"', ', "first@"'),),
            "gru4rec/report/page.py": (Insert('"ndcg@"', ', "first@"'),),
            "tests/unit/test_protocol.py": (
                Insert("def test_ndcg_and_metrics_by_name(", '''def test_first_by_hand():
    (_, values), = metrics.of_ranks([1, 3, 1], [5], 1)
    assert values["first"] == 2 / 4


''', True),),
        }),
    Change(
        "A new format of events", ".parquet", edits={
            "gru4rec/data/reading/loader.py": (
                Insert("from gru4rec.data.reading.parquet import",
                       "from gru4rec.data.reading.jsonl import read_jsonl\n", True),
                Insert("else:\n                session, item, (time, is_iso) = read_text(",
                       '''elif path.endswith(".jsonl"):
                session, item, (time, is_iso) = read_jsonl(path, handle, keys)
            ''', True)),
            "gru4rec/config/groups.py": (Insert(".txt .tsv .csv", " .jsonl"),),
            "tests/unit/test_loader.py": (
                Insert("def test_quoted_fields(", '''def test_jsonl_by_hand(tmp_path):
    path = tmp_path / "e.jsonl"
    path.write_text('{"ItemId": 7, "SessionId": 1, "Time": 5}\\n')
    assert columns(load_events(str(path))) == ([1], [7], [5.0])


''', True),),
        }, new_files={"gru4rec/data/reading/jsonl.py": '''"""JSON lines to columns."""

import json

import numpy as np


def read_jsonl(path, handle, keys):
    """(session ids, item ids, (time, is_iso)) of a file with one JSON object in each line."""
    rows = [json.loads(line.decode("utf-8")) for line in handle]
    session, item, time = (np.array([row[key] for row in rows]) for key in keys)
    return session, item, (time.astype(np.float64), False)
'''}),
    Change(
        "A new NPU option", "--op_cache", edits={
            "gru4rec/config/npu_options.py": (
                Insert('    "aoe_mode": Option(', '    "depth": Option("i", low=0),\n', True),),
            "gru4rec/config/accelerator.py": (
                Insert("    deterministic: int = flag(",
                       '    depth: Optional[int] = flag(None, "a depth", kind=whole)\n', True),
                Insert("_KEYS = (", '("depth", "depth"), ')),
            "tests/unit/test_npu_options.py": (
                Insert("def test_npu_opt_may_be_given_again", '''def test_depth():
    assert asked("--depth", "3") == {"depth": 3}


''', True),),
        }),
    Change(
        "A new HTTP path", "/healthz", edits={
            "gru4rec/serve/app.py": (
                Insert("    async def healthz():", '''    async def count():
        """How many items the model knows."""
        return {"items": len(state.batcher.model)}

''', True),
                Insert('    app.get("/healthz")(', '    app.get("/count")(count)\n', True)),
            "tests/unit/test_server.py": (
                Insert("def test_health_metrics_and_openapi(", '''def test_count(served):
    assert served[0].ask("GET", "/count") == (200, {"items": 40})


''', True),),
        }),
)}


class Step(NamedTuple):
    """One numbered step of a trail."""

    path: str  # a file, or a directory with a slash at its end that gets a new file
    text: str  # all of the step


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def trails(page):
    """{title: list of Step}, of the text of CONTRIBUTING.md."""
    found = {}
    for section in re.split(r"^#+ (?=.)", page, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if title.startswith("A new "):
            found[title] = [Step(step.group(1), step.group(0)) for step in
                            re.finditer(r"^\d+\. `([^`]+)`.*(?:\n   .*)*", body, re.MULTILINE)]
    return found


def is_code(path):
    return path.startswith(("gru4rec/", "tests/"))


def disagreements(change, steps, root):
    """What is wrong with the files a trail names: list of text, empty if nothing is."""
    named = {step.path for step in steps}
    needed = set(change.edits) | {os.path.dirname(path) + "/" for path in change.new_files}
    wrong = ["%s names %s, which does not exist" % (change.title, path)
             for path in sorted(named) if not os.path.exists(os.path.join(root, path))]
    wrong += ["%s does not name %s, which the change needs" % (change.title, path)
              for path in sorted(needed - named)]
    wrong += ["%s names %s, which the change does not need" % (change.title, path)
              for path in sorted(named - needed) if is_code(path)]
    pages = [path for path in sorted(named)
             if not is_code(path) and os.path.exists(os.path.join(root, path))]
    if not pages:
        wrong.append("%s names no page of the documentation" % change.title)
    wrong += ["%s names %s, which does not speak of %s" % (change.title, path, change.sibling)
              for path in pages if change.sibling not in read(root, path)]
    return wrong


def insert(root, path, inserts):
    """Change one file; the test fails with a clear message where an anchor is not there once."""
    text = read(root, path)
    for anchor, addition, in_front in inserts:
        count = text.count(anchor)
        assert count == 1, (
            "%s has the text %r %d times, not once. The code has changed: correct the anchor in "
            "tests/docs/test_trails.py, and the trail in CONTRIBUTING.md if it is no longer true"
            % (path, anchor, count))
        at = text.index(anchor) + (0 if in_front else len(anchor))
        text = text[:at] + addition + text[at:]
    with open(os.path.join(root, path), "w", encoding="utf-8") as file:
        file.write(text)


@pytest.fixture
def changed(repo_root, tmp_path):
    """Function (title, ...) -> str, a copy of package and tests with these changes made."""
    def make(*titles):
        copy = str(tmp_path / "copy")
        for name in ("gru4rec", "tests"):
            shutil.copytree(os.path.join(repo_root, name), os.path.join(copy, name))
        shutil.copy(os.path.join(repo_root, "pytest.ini"), copy)
        written = trails(read(repo_root, PAGE))
        for title in titles:
            change = CHANGES[title]
            assert disagreements(change, written.get(title, []), repo_root) == []
            for path, text in change.new_files.items():
                with open(os.path.join(copy, path), "x", encoding="utf-8") as file:
                    file.write(text)
            for path, inserts in change.edits.items():
                insert(copy, path, inserts)
        return copy
    return make


def run(copy, *words):
    """What `python WORDS` says on stdout in the copy, and nothing of this checkout with it."""
    done = python(copy, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(copy, *words):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("PYTEST_")}
    return subprocess.run([sys.executable] + list(words), cwd=copy, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=600,
                          env=dict(environment, PYTHONPATH=copy))


def run_tests(copy, select, *paths):
    """Run the tests that a change has brought, and return how many passed."""
    out = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", select, *paths)
    return int(re.search(r"(\d+) passed", out).group(1))


def events(directory, num_sessions=60):
    """(path of a small log, its rows): each session has item 7 twice and two others once."""
    rows = [(session, item, 1000 * session + place) for session in range(1, num_sessions + 1)
            for place, item in enumerate((session % 5, 7, 8 + session % 3, 7))]
    path = os.path.join(str(directory), "clicks.tsv")
    with open(path, "w") as file:
        file.write("SessionId\tItemId\tTime\n")
        file.writelines("%d\t%d\t%d\n" % row for row in rows)
    return path, rows


@pytest.mark.tf
@pytest.mark.once
@pytest.mark.release
@pytest.mark.slow
def test_a_new_loss_and_a_new_optimizer_train(changed, tmp_path):
    copy, (path, _) = changed("A new loss", "A new optimizer"), events(tmp_path)
    out = run(copy, "-m", "gru4rec.main", "--device", "cpu", "--xla", "off", "--train_path", path,
              "--test_path", path, "--checkpoint_dir", "trained", "--loss", "margin", "--optimizer",
              "average", "--lr", "0.5", "--batch_size", "10", "--size", "8", "--dropout", "0",
              "--n_sample", "20", "--epoch", "10", "--log_every", "10")
    losses = [float(loss) for loss in re.findall(r"loss: (\S+)", out)]
    assert losses[0] == pytest.approx(1.0, abs=0.05)  # of equal scores; a cross-entropy has ln 10
    assert losses[-1] < 0.8
    with open(os.path.join(copy, "trained", "gru-model-9.index"), "rb") as file:
        assert b"/Average" in file.read()  # the slot is part of the checkpoint
    assert run_tests(copy, "(margin or average) and not xla", "tests/graph/test_losses.py",
                     "tests/parity/test_family.py") >= 12


def test_a_new_metric_is_printed_drawn_and_reported(changed, tmp_path):
    copy, (path, _) = changed("A new metric"), events(tmp_path)
    out = run(copy, "-m", "gru4rec.baselines", "--train_path", path, "--test_path", path,
              "--baseline", "popularity", "--metrics", "first,recall", "--cut_off", "1,5")
    one, five = [[float(value) for value in re.match(
        r"popularity: First@%d: (\S+)\tRecall@%d: (\S+)" % (cut, cut), line).groups()]
        for cut, line in zip((1, 5), out.splitlines()[1:])]
    # two of the three targets of a session are item 7, the most popular one
    assert one == [0.6667, 0.6667] and five == [0.6667, 1.0]
    row = json.dumps({"kind": "eval", "step": 1, "epoch": 0, "first@3": 0.25})
    drawn = run(copy, "-c", "from gru4rec import config\n"
                            "from gru4rec.report import page\n"
                            "from gru4rec.runlog import tensorboard\n"
                            "print(tensorboard.scalars('eval', %s))\n"
                            "print(page.make('run', [%s], config.from_flags({}), ''))" % (row, row))
    assert drawn.startswith("([('test/first@3', 0.25)], 1)\n")
    assert "<th>First</th>" in drawn and "0.2500" in drawn
    assert run_tests(copy, "first_by_hand", "tests/unit/test_protocol.py") == 1


def test_a_new_format_of_events_is_read(changed, tmp_path):
    copy, (path, rows) = changed("A new format of events"), events(tmp_path)
    other = str(tmp_path / "clicks.jsonl")
    with open(other, "w") as file:
        file.writelines(json.dumps(dict(zip(("SessionId", "ItemId", "Time"), row))) + "\n"
                        for row in rows)
    outs = [run(copy, "-m", "gru4rec.baselines", "--train_path", name, "--test_path", name)
            for name in (path, other)]
    assert outs[0] == outs[1] and "Recall@20: " in outs[0]
    assert run_tests(copy, "jsonl", "tests/unit/test_loader.py") == 1


def test_a_new_npu_option_is_checked_and_set(changed):
    copy = changed("A new NPU option")
    done = python(copy, "-m", "gru4rec.main", "--depth", "-1")
    assert done.returncode == 2 and "npu option depth -1 is out of range" in done.stderr
    # beside its own test, those of the table take the new key
    assert run_tests(copy, "depth", "tests/unit/test_npu_options.py") == 3


@pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in SERVE),
                    reason="the extra serve is not installed (Python 3.9 or later)")
def test_a_new_http_path_answers(changed):
    assert run_tests(changed("A new HTTP path"), "test_count", "tests/unit/test_server.py") == 1


@pytest.mark.parametrize("title", sorted(CHANGES))
def test_a_trail_names_the_files_of_its_change_and_no_other(repo_root, title):
    change, steps = CHANGES[title], trails(read(repo_root, PAGE)).get(title, [])
    assert disagreements(change, steps, repo_root) == []
    # and for every file that is left out it would say so
    for step in steps:
        wrong = disagreements(change, [other for other in steps if other != step], repo_root)
        assert not is_code(step.path) or wrong == [
            "%s does not name %s, which the change needs" % (title, step.path)]
    wrong = disagreements(change, steps + [Step("gru4rec/attic.py", "")], repo_root)
    assert "names gru4rec/attic.py, which does not exist" in wrong[0] and len(wrong) == 2


@pytest.mark.parametrize("title", ["A new loss", "A new metric", "A new optimizer"])
def test_a_trail_names_every_module_that_knows_its_kind(repo_root, title):
    """Whatever names the nearest sibling in its code has to learn of a new one."""
    quoted = CHANGES[title].quoted
    named = {step.path for step in trails(read(repo_root, PAGE))[title]}
    knowing = set()
    for directory, _, names in os.walk(os.path.join(repo_root, "gru4rec")):
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), repo_root).replace(os.sep, "/")
            if name.endswith(".py") and quoted in read(repo_root, path):
                knowing.add(path)
    assert knowing and knowing <= named


def test_every_trail_has_a_change_that_proves_it(repo_root):
    assert set(trails(read(repo_root, PAGE))) == set(CHANGES)


def test_what_a_step_names_stands_in_its_file(repo_root):
    """Every name in backquotes of a step is a name of its file (or of a file of its directory)."""
    for title, steps in trails(read(repo_root, PAGE)).items():
        for step in steps:
            names = re.findall(r"`([A-Za-z_]\w*)`", step.text)
            where = os.path.join(repo_root, step.path)
            paths = [os.path.join(step.path, name) for name in os.listdir(where)
                     if name.endswith(".py")] if os.path.isdir(where) else [step.path]
            text = "".join(read(repo_root, path) for path in paths)
            assert [name for name in names if not re.search(r"\b%s\b" % name, text)] == [], (
                title, step.path)


def test_every_path_of_the_page_exists(repo_root):
    page = read(repo_root, PAGE)
    top = [name for name in os.listdir(repo_root) if os.path.isdir(os.path.join(repo_root, name))]
    below = "|".join(map(re.escape, top))
    paths = set(re.findall(r"(?<![\w./])((?:%s)/[\w./-]*\w/?)" % below, page))
    paths |= set(re.findall(r"(?<![\w./-])([\w-]+\.(?:md|py|sh|toml|ini))\b", page))
    paths |= {target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page)
              if not target.startswith("https://")}
    assert len(paths) > 25
    assert [path for path in sorted(paths)
            if not os.path.exists(os.path.join(repo_root, path))] == []


def test_every_marker_is_explained(repo_root):
    declared = re.findall(r"^    (\w+): ", read(repo_root, "pytest.ini"), re.MULTILINE)
    explained = [name for row in re.findall(r"^\| (`.*?) \|", read(repo_root, PAGE), re.MULTILINE)
                 for name in re.findall(r"`(\w+)`", row)]
    assert len(declared) > 5 and sorted(declared) == sorted(explained)


def test_pages_that_code_and_scripts_name_exist(repo_root):
    named = set()
    for top in ("gru4rec", "scripts", ".ci"):
        for directory, _, names in os.walk(os.path.join(repo_root, top)):
            for name in sorted(names):
                if not name.endswith(".pyc") and not name.endswith(".gz"):
                    path = os.path.relpath(os.path.join(directory, name), repo_root)
                    named.update((path, page) for page in re.findall(
                        r"(?<![\w/])docs/[\w./-]+\.md\b", read(repo_root, path)))
    assert len(named) > 5
    assert [pair for pair in sorted(named)
            if not os.path.exists(os.path.join(repo_root, pair[1]))] == []
