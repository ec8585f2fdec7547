"""What an error says, and that it survives the way back from a worker process."""

import pickle

from germline.errors import DataError, SettingError, TrainingError, UnknownNameError


def test_the_three_parts_become_sentences():
    error = SettingError("depth=0", "a depth is at least 1.", "use depth=1")
    assert str(error) == "depth=0. a depth is at least 1. use depth=1."
    assert str(DataError("no pictures")) == "no pictures."


def test_exit_codes_part_bad_input_from_failed_training():
    assert (SettingError("x").exit_code, TrainingError("x").exit_code) == (2, 3)


def test_an_unknown_name_comes_with_the_nearest():
    assert "Did you mean tleg?" in str(UnknownNameError.with_nearest("method", "tlge", ["tleg", "scratch"]))
    assert "Known: scratch, tleg" in str(UnknownNameError.with_nearest("method", "zzz", ["tleg", "scratch"]))


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(TrainingError("the loss", "is nan", "lower lr")))
    assert (type(error), error.what, error.why, error.fix) == (TrainingError, "the loss", "is nan", "lower lr")
