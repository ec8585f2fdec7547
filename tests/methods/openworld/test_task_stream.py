"""The task stream: outputs of each task, growth, forgetting and detection."""

import pytest
import torch

from germline.architectures import VggSpec
from germline.errors import SettingError
from germline.methods.openworld.novelty import detect_unknown
from germline.methods.openworld.task_stream import Heads, measure_forgetting, published_growth, specs_by_task
from germline.registry import model_spec

TASKS = (("a", "c"), ("b", "a"), ("d", "e"))
IMAGE_FIELDS = {"image_size": 32, "channels": 1, "classes": 4}


def make_heads(kind):
    return Heads(kind, TASKS, tuple("abcdef"), ways=2, max_tasks=4)


def test_per_task_heads_have_separate_outputs():
    assert make_heads("per-task").outputs == 8
    assert [make_heads("per-task").columns(task, 3).tolist() for task in range(3)] == [[0, 1], [2, 3], [4, 5]]


def test_shared_heads_have_the_same_outputs_for_all_tasks():
    assert make_heads("shared").outputs == 6
    assert [make_heads("shared").columns(task, 3).tolist() for task in range(3)] == [list(range(6))] * 3


def test_class_incremental_heads_have_all_classes_so_far():
    heads = make_heads("class-incremental")
    assert heads.outputs == 6
    assert heads.columns(0, 1).tolist() == [0, 2]
    assert heads.columns(1, 2).tolist() == [1, 0, 2]  # the task's own classes are first, in their order
    assert heads.columns(0, 3).tolist() == [0, 2, 1, 3, 4]


def test_published_growth_turns_the_collective_into_a_vgg16():
    for name, last in (("collective", "vgg16"), ("collective_x025", "vgg16_x025")):
        spec = model_spec(name, **IMAGE_FIELDS)
        growth = published_growth(spec)
        found = specs_by_task(spec, growth, 21)
        assert (len(growth), len(found)) == (20, 21)
        assert found[0] == spec
        assert found[-1].widths == model_spec(last, **IMAGE_FIELDS).widths
        assert specs_by_task(spec, growth, 50)[20:] == found[-1:] * 30
        assert specs_by_task(spec, growth, 2)[-1].widths[1] == (2 * spec.widths[0][0], spec.widths[0][0])
    with pytest.raises(SettingError, match="growth=published for stages of 1, 1, 2, 2, 2 units"):
        published_growth(model_spec("vgg11", **IMAGE_FIELDS))


def test_impossible_growth_is_refused():
    spec = VggSpec(**IMAGE_FIELDS, widths=((2,), (3,)))
    assert [one.widths for one in specs_by_task(spec, ((2, 4),), 3)] == [((2,), (3,)), ((2,), (7,)), ((2,), (7,))]
    with pytest.raises(SettingError, match="Conv unit 3"):
        specs_by_task(spec, ((3, 1),), 2)
    with pytest.raises(SettingError, match="A step adds at least one"):
        specs_by_task(spec, ((1, 0),), 2)


def test_forgetting_is_the_best_minus_the_last_accuracy():
    assert measure_forgetting([[0.9], [0.5, 0.8], [0.6, 0.9, 1.0]]) == pytest.approx(((0.9 - 0.6) + (0.9 - 0.9)) / 2)
    assert measure_forgetting([[0.9]]) == 0


def test_detection_counts_scores_below_the_threshold():
    # Every other known image sets the threshold; their scores are 0.5 to 0.9. The others test it.
    known = torch.tensor([0.5, 0.4, 0.6, 0.75, 0.7, 0.8, 0.8, 0.9, 0.9, 0.95])
    unknown, labels = torch.tensor([0.1, 0.2, 0.85, 0.65]), torch.tensor([0, 0, 1, 1])
    found = detect_unknown(known, unknown, labels, ("x", "y"), percentile=50, share=0.6)
    assert found["threshold"] == pytest.approx(0.7)
    assert (found["detection"], found["false_alarms"]) == (0.75, 0.2)
    assert found["shares"] == {"x": 1.0, "y": 0.5}
    assert found["flagged"] == ["x"]
    assert found["auroc"] == pytest.approx(16 / 20)
    assert [row[0] for row in found["curve"]] == sorted(row[0] for row in found["curve"])
    assert found["curve"][-1][1:] == [0.75, 0.2]
