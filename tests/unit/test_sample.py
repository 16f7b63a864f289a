"""Which file of test events a command reads: the one given, that of the training, or the sample."""

import pytest

from gru4rec.data import sample
from gru4rec.errors import InputError


@pytest.mark.parametrize("files, chosen", [
    (("mine.tsv", "train.tsv", "test.tsv"), "mine.tsv"), (("mine.tsv", None), "mine.tsv"),
    ((None, "train.tsv", "test.tsv"), "test.tsv"), ((None, None), sample.path("test"))])
def test_the_file_given_then_that_of_the_training_then_the_sample(files, chosen):
    assert sample.test_file(*files) == chosen


def test_a_model_of_other_events_is_not_tested_on_the_sample():
    with pytest.raises(InputError, match="--test_path is missing: .* trained on clicks.tsv"):
        sample.test_file(None, "clicks.tsv")


def test_the_training_file_given_else_the_sample():
    assert sample.train_file("clicks.tsv") == "clicks.tsv"
    assert sample.train_file(None) == sample.path("train")
