"""Schedule in numbers, and refused settings."""

import pytest

from germline.errors import SettingError
from germline.training import TrainSettings
from germline.training.augmentation import check_augmentation


def test_learning_rate_warmup_and_cosine():
    settings = TrainSettings(lr=1.0, warmup=0.2, min_lr=0.1)
    rates = [settings.learning_rate(step, 10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.55)  # halfway from 1.0 to 0.1
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert settings.learning_rate(10, 10) == pytest.approx(0.1)


def test_learning_rate_without_warmup():
    assert TrainSettings(lr=0.3, warmup=0.0).learning_rate(0, 100) == pytest.approx(0.3)


def test_learning_rate_constant():
    settings = TrainSettings(lr=0.3, warmup=0.5, schedule="constant")
    assert [settings.learning_rate(step, 4) for step in range(4)] == [0.15, 0.3, 0.3, 0.3]


def test_total_steps_prefers_steps_to_epochs():
    assert TrainSettings(epochs=3, batch_size=32).total_steps(100) == 10
    assert TrainSettings(epochs=0.5, batch_size=32).total_steps(100) == 2
    assert TrainSettings(epochs=0.01, batch_size=32).total_steps(10) == 1
    assert TrainSettings(epochs=3, steps=7).total_steps(100) == 7
    assert TrainSettings(steps=0).total_steps(100) == 0


def test_has_evaluation():
    settings = TrainSettings(eval_every=4, eval_at=(0, 5))
    assert [step for step in range(11) if settings.has_evaluation(step, 10)] == [0, 4, 5, 8, 10]
    assert [step for step in range(11) if TrainSettings().has_evaluation(step, 10)] == [10]


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": -1},
        {"epochs": 0},
        {"epochs": float("nan")},
        {"steps": -1},
        {"batch_size": 0},
        {"lr": 0},
        {"lr": float("nan")},
        {"warmup": 1.5},
        {"optimizer": "adam"},
        {"schedule": "linear"},
        {"clip": 0},
        {"accumulate": 0},
        {"ema": 1},
        {"drop_path": 1},
        {"label_smoothing": 1},
        {"mixup": -0.1},
        {"momentum": 1},
        {"erasing": 1.1},
        {"color_jitter": -0.1},
        {"repeats": 0},
        {"eval_at": (0, -1)},
        {"no_such_setting": 1},
    ],
    ids=str,
)
def test_bad_values_are_refused(bad):
    with pytest.raises(SettingError):
        TrainSettings(**bad)


def test_settings_are_frozen():
    with pytest.raises(SettingError, match=r"TrainSettings\.lr cannot be changed\. .*Make new settings"):
        TrainSettings().lr = 1.0


def test_dump_contains_later_settings_only_if_they_are_set():
    dump = TrainSettings().model_dump(mode="json")
    later = {"randaugment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.4, "erasing": 0.25, "repeats": 3}
    later |= {"fused": False, "channels_last": False, "grad_checkpointing": True}
    # cache_teacher excludes augmentation, so it is not among them.
    assert dump.keys() == TrainSettings.model_fields.keys() - later.keys() - {"cache_teacher"}
    settings = TrainSettings(**later)
    assert settings.model_dump(mode="json") == dump | later
    assert TrainSettings.model_validate(settings.model_dump()) == settings


@pytest.mark.parametrize("good", ["rand", "rand-m9-mstd0.5-inc1", "rand-m15-n3-p0.8-mmax30", "rand-tweights", None])
def test_randaugment_accepts_the_notation_of_timm(good):
    assert TrainSettings(randaugment=good).randaugment == good


@pytest.mark.parametrize(
    "bad", ["", "m9", "rand-m9.5", "rand-m", "rand-n0", "rand-x1", "original", "rand-m9-", "Rand-m9"]
)
def test_randaugment_refuses_other_texts(bad):
    with pytest.raises(SettingError, match=r"Use for example rand-m9-mstd0\.5-inc1"):
        TrainSettings(randaugment=bad)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"augment": False, "erasing": 0.25},
            "Erasing is set with augment=false. .* Remove erasing, or set augment=true.",
        ),
        ({"augment": False, "repeats": 3}, "Repeats is set with augment=false"),
        ({"repeats": 9, "batch_size": 8}, "repeats=9 with batch_size=8. .* Use repeats=8 or fewer."),
    ],
    ids=str,
)
def test_augmentation_that_cannot_apply_is_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        TrainSettings(**settings)


def test_augmentation_is_refused_on_images_that_allow_none():
    check_augmentation(TrainSettings(erasing=0.25), ("shift",))
    check_augmentation(TrainSettings(), ())
    with pytest.raises(SettingError, match=r"erasing=0.25 on images that allow no augmentation.*Remove erasing"):
        check_augmentation(TrainSettings(erasing=0.25), ())
