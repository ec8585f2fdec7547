"""Error messages, and pickling of errors."""

import pickle

import pytest

from germline.errors import DataError, SettingError, TrainingError, UnknownNameError


def test_three_parts_become_sentences():
    error = SettingError("depth=0", "a depth is at least 1.", "use depth=1")
    assert str(error) == "depth=0. A depth is at least 1. Use depth=1."
    assert str(DataError("no images")) == "No images."
    assert str(DataError("no images", fix="did you mean 'digits'?")) == "No images. Did you mean 'digits'?"


@pytest.mark.parametrize(
    "part", ["lr=3", "'a file' is empty", "model.pt2", "arms/gene", "drop_path", "demo: no key", "--set x", "x2 is odd"]
)
def test_code_at_the_start_of_a_sentence_keeps_its_spelling(part):
    assert str(SettingError(part)) == f"{part}."


@pytest.mark.parametrize("part", ["weight-selection is a control", "timm's names", "images, labels"])
def test_plain_words_get_a_capital(part):
    assert str(SettingError(part)) == f"{part.capitalize()}."


def test_exit_codes_distinguish_bad_input_and_failed_training():
    assert (SettingError("x").exit_code, TrainingError("x").exit_code) == (2, 3)


def test_unknown_name_error_names_the_nearest():
    assert "Did you mean tleg?" in str(UnknownNameError.with_nearest("method", "tlge", ["tleg", "scratch"]))
    assert "Did you mean tleg?" in str(UnknownNameError.with_nearest("method", "TLEG", ["tleg", "scratch"]))
    assert "Known: scratch, tleg" in str(UnknownNameError.with_nearest("method", "zzz", ["tleg", "scratch"]))


def test_pickled_error_keeps_its_parts():
    error = pickle.loads(pickle.dumps(TrainingError("the loss", "is nan", "lower lr")))
    assert (type(error), error.what, error.why, error.fix) == (TrainingError, "the loss", "is nan", "lower lr")
