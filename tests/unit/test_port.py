"""Names of the older port: its flags, its summary. No TensorFlow."""

import importlib.util
import os

import pytest

from gru4rec import config
from gru4rec.errors import ConfigError


def paths(*argv):
    parsed = config.parse(list(argv))
    again = config.from_dict(parsed.to_dict())
    assert again.data == parsed.data and again.port.path_to_train is None
    return parsed.data.train_path, parsed.data.test_path


def test_directories_stand_for_the_files_in_them(tmp_path):
    here = str(tmp_path)
    assert paths("--path_to_train", here, "--path_to_test", here) == (
        os.path.join(here, "rsc15_train_full.txt"), os.path.join(here, "rsc15_test.txt"))
    assert paths("--path_to_train", here, "--train_dataset_file",
                 "/mine.txt")[0] == os.path.join(here, "mine.txt")
    assert paths("--path_to_train", "a.txt", "--path_to_test", "b.txt") == ("a.txt", "b.txt")
    assert paths() == (None, None)


@pytest.mark.parametrize("argv, words", [
    (["--path_to_train", "a", "--train_path", "b"], ["--path_to_train a", "--train_path b"]),
    (["--path_to_test", "a", "--test_path", "b"], ["--path_to_test a", "--test_path b"]),
    (["--train_dataset_file", "a"], ["--path_to_train"]),
    (["--log_format", "other"], ["modelzoo"])])
def test_two_names_of_one_thing_are_refused(argv, words):
    with pytest.raises(ConfigError) as caught:
        config.parse(argv)
    assert all(word in str(caught.value) for word in words)


def test_the_summary_has_the_keys_of_the_older_scripts(repo_root, tmp_path):
    script = os.path.join(repo_root, "scripts", "modelzoo_summary.py")
    spec = importlib.util.spec_from_file_location("summary", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    logs = []
    for device, fps in ((0, "100.50"), (1, "99.50")):
        logs.append(str(tmp_path / ("train_%d.log" % device)))
        with open(logs[-1], "w") as out:
            out.write("Epoch 0\tStep 1\tlr: 0.001\tloss: 9.0\nTimeHistory: 1.00\n"
                      "Epoch 0\tStep 1000\tlr: 0.001\tloss: 3.25\nEach Step time is:0.004\n"
                      "Each Step npu time is: 0.004\nTimeHistory: %s\n" % fps)
    module.main([",".join(logs), "12", "--batch_size", "64"])
    text = (tmp_path / "GRU4Rec_for_TensorFlow_bs64_2p_acc.log").read_text()
    rows = dict(line.split(" = ") for line in text.splitlines())
    assert list(rows) == ["Network", "RankSize", "BatchSize", "DeviceType", "CaseName", "ActualFPS",
                          "TrainingTime", "TrainAccuracy", "ActualLoss", "E2ETrainingTime"]
    assert (rows["RankSize"], rows["BatchSize"], rows["ActualFPS"]) == ("2", "64", "200.00")
    assert (rows["TrainingTime"], rows["ActualLoss"],
            rows["E2ETrainingTime"]) == ("0.004", "3.25", "12")
