"""docs/evidence/machines.md and its results file say the same."""

import json
import os
import shutil
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import machines  # noqa: E402


@pytest.fixture
def rows():
    return [
        {
            "row": name,
            "settings": "s",
            "tests": tests,
            "passed": passed,
            "failed": 0,
            "skipped": 1,
            "seconds": 90.0,
            "marked": {},
            "python": "3.9",
            "tensorflow": "2.6.5",
            "numpy": "1.19.5",
            "processor": "X | Y",
            "cores": 2,
            "system": "Linux",
            "date": "2026-01-02",
            "commit": "abc",
        }
        for name, tests, passed in (
            ("zen", "whole suite", 3),
            ("zen+user", "whole suite", 4),
            ("zen", "whole suite", 5),
        )
    ]


def test_the_table_of_the_page_is_that_of_the_results(capsys):
    assert machines.main(["table", "--check", "1"]) == 0, capsys.readouterr().err


def test_of_several_runs_of_a_row_the_last_counts(rows):
    lines = machines.table(rows).splitlines()
    assert lines[2:] == [
        "| `zen` | 3.9 | 2.6.5 | 1.19.5 | X / Y, 2 | whole suite | 5 | 0 | 1 | 1.5 | 2026-01-02, "
        "abc |",
        "| `zen` `user` | 3.9 | 2.6.5 | 1.19.5 | X / Y, 2 | whole suite | 4 | 0 | 1 | 1.5 | "
        "2026-01-02, abc |",
    ]


def test_a_page_that_differs_is_said_to_and_mended(rows, tmp_path, monkeypatch, capsys):
    page, results = tmp_path / "machines.md", tmp_path / "machines.jsonl"
    shutil.copy(machines.PAGE, str(page))
    results.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setattr(machines, "PAGE", str(page))
    monkeypatch.setattr(machines, "RESULTS", str(results))
    assert (
        machines.main(["table", "--check", "1"]) == 1
        and "machines.py table" in capsys.readouterr().err
    )
    assert machines.main(["table"]) == 0 and machines.main(["table", "--check", "1"]) == 0
    assert "| `zen` `user` |" in page.read_text(encoding="utf-8")


def test_a_run_without_a_result_is_said_to_have_none(tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    flags = [
        "record",
        str(out),
        "--row",
        "zen",
        "--settings",
        "s",
        "--junit",
        str(tmp_path / "none"),
        "--log",
        str(tmp_path),
    ]
    assert machines.main(flags) == 1 and "zen: pytest wrote no result" in capsys.readouterr().err
    assert not os.path.exists(str(out))
