"""Tuning of the consolidation strength on the first tasks, on planted streams with a known best value."""

from dataclasses import replace

import pytest
import torch

from germline.data import Images, draw_disjoint_tasks, iterate_batches, load_data
from germline.errors import SettingError, TrainingError
from germline.methods.openworld.collective import TaskLoss
from germline.methods.openworld.earlier_answers import EarlierAnswers, list_earlier_outputs
from germline.methods.openworld.method import OpenWorld
from germline.methods.openworld.task_stream import Heads, measure_forgetting
from germline.randomness import derive
from germline.training import Run

TASKS = {("left", "right"), ("trap-a", "trap-b")}
PLANTED = {
    "preset": "tiny",
    "tasks": 2,
    "ways": 2,
    "overlap": False,
    "head": "shared",
    "growth": "none",
    "fisher_samples": 8,
    "training": {"steps": 16, "lr": 0.02},
    "tune_consolidation": (0.0, 1e4),
    "tune_tasks": 2,
}


def condense(data, folder=None, seed=0, **settings):
    return OpenWorld(**settings).condense(None, data, Run(folder, seed=seed, device="cpu", quiet=True))


def draw_halves(sides, seed):
    """Draw noise images whose left (0) or right (1) half is brighter, or neither (2)."""
    images = torch.randint(0, 60, (len(sides), 1, 32, 32), generator=torch.Generator().manual_seed(seed))
    for image, side in zip(images, sides, strict=True):
        if side < 2:
            image[..., 16 * side : 16 * side + 16] += 150
    return images.to(torch.uint8)


@pytest.fixture(scope="module")
def planted():
    """Two tasks that contradict each other, for a head of shared outputs.

    The classes of one task are left and right. Those of the other are right and left, but their validation images
    are only noise. So the accuracy depends only on left and right.
    """
    classes = ("left", "right", "trap-a", "trap-b")

    def split(per_class, sides, seed):
        labels = torch.arange(4).repeat_interleave(per_class)
        return Images(draw_halves([sides[label] for label in labels], seed), labels, classes)

    return load_data(split(16, (0, 1, 1, 0), 0), val=split(8, (0, 1, 2, 2), 1), classes=classes)


def find_seed(data, first):
    """Return a seed whose stream has the planted tasks and starts with the class `first`."""
    for seed in range(50):
        tasks = [task.classes for task in draw_disjoint_tasks(data, 2, 2, derive(seed, "openworld", "tasks"))]
        if first == tasks[0][0] and set(tasks) == TASKS:
            return seed
    raise AssertionError("no seed draws the tasks in this order")


@pytest.mark.parametrize(("first", "chosen"), [("left", 1), ("trap-a", 0)])
def test_strength_is_chosen_by_the_final_accuracy(first, chosen, planted):
    seed = find_seed(planted, first)
    record = condense(planted, seed=seed, **PLANTED).provenance.record["collective"]
    tuning = record["tuning"]
    assert [(point["consolidation"], point["lr"]) for point in tuning["points"]] == [(0.0, 0.02), (1e4, 0.02)]
    (weak_earlier, weak_newest), (strong_earlier, strong_newest) = (
        point["accuracies"][-1] for point in tuning["points"]
    )
    # Strength 0 forgets the first task and learns the second one. A strong anchor keeps the first one.
    if first == "left":
        assert weak_earlier <= 0.2 < 0.8 <= strong_earlier
        assert measure_forgetting(tuning["points"][0]["accuracies"]) >= 0.8
    else:
        assert weak_newest >= 0.8 > strong_newest
    assert tuning["chosen"] == chosen
    assert [list(row) for row in record["accuracies"]] == tuning["points"][chosen]["accuracies"]


TINY = {"preset": "tiny", "ways": 3, "training": {"checkpoint_every": 1}}
TUNED = {**TINY, "tune_consolidation": (5.0, 1e4), "distillation": 0.5, "tune_tasks": 2, "whole": True}


@pytest.fixture(scope="module")
def tuned(pico):
    return condense(pico, **TUNED)


def assert_equal_tensors(one, other):
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())


def test_tuned_gene_equals_the_gene_of_the_chosen_strength(tuned, pico):
    tuning = tuned.provenance.record["collective"]["tuning"]
    chosen = tuning["points"][tuning["chosen"]]
    plain = condense(pico, **TINY, whole=True, distillation=0.5, consolidation=chosen["consolidation"])
    assert_equal_tensors(tuned, plain)
    records = [dict(gene.provenance.record["collective"]) for gene in (tuned, plain)]
    assert records[0].pop("tuning") == tuning
    assert records[0] == records[1]
    assert tuned.settings == OpenWorld(**TUNED).model_dump(mode="json")
    # Samples are three tasks of two steps of 8 images, and two tasks of the other point.
    assert tuned.provenance.training["samples"] == (3 + 2) * 16 == OpenWorld(**TUNED).cost(tuned.spec, 0, 0).samples


@pytest.mark.parametrize("step", [7, 9])  # in the second point, and in the stream after both points
def test_killed_tuning_resumes_to_the_same_gene(step, tuned, pico, tmp_path, monkeypatch):
    calls, original = [], TaskLoss.before_step

    def before_step_until_killed(self, seed, name, at):
        calls.append(at)
        if len(calls) == step:
            raise KeyboardInterrupt
        original(self, seed, name, at)

    monkeypatch.setattr(TaskLoss, "before_step", before_step_until_killed)
    with pytest.raises(KeyboardInterrupt):
        condense(pico, tmp_path, **TUNED)
    resumed = condense(pico, tmp_path, **TUNED)
    assert_equal_tensors(resumed, tuned)
    assert resumed.provenance.record["collective"] == tuned.provenance.record["collective"]
    assert len(calls) == 10 + 1  # only the killed step is repeated
    assert not [path.name for path in (tmp_path / "tuning").iterdir() if path.is_dir()]


def test_learning_rate_without_finite_loss_is_not_chosen(pico):
    gene = condense(pico, **TINY, tune_lr=(1e30, 0.02), tune_tasks=1)
    tuning = gene.provenance.record["collective"]["tuning"]
    assert [point["accuracies"] is None for point in tuning["points"]] == [True, False]
    assert tuning["chosen"] == 1
    with pytest.raises(TrainingError, match=r"not finite at any strength and rate.*1e\+30.*Set smaller rates"):
        condense(pico, **TINY, tune_lr=(1e30,), tune_tasks=1)


def test_joint_training_is_measured_on_the_tasks_of_the_stream(tuned, pico):
    joint = condense(pico, **TINY, stream="joint", tune_lr=(1e-4, 0.02), tune_tasks=1)
    stream, record = (gene.provenance.record["collective"] for gene in (tuned, joint))
    assert record["classes"] == stream["classes"]
    assert len(record["joint"]) == len(stream["accuracies"]) == 3
    assert joint.provenance.metrics["accuracy of joint training on the tasks"] == pytest.approx(
        sum(record["joint"]) / 3
    )
    assert [len(point["accuracies"]) for point in record["tuning"]["points"]] == [1, 1]
    # Samples are two rates for the steps of one task, and one training for the steps of three tasks.
    cost = OpenWorld(**TINY, stream="joint", tune_lr=(1e-4, 0.02), tune_tasks=1).cost(joint.spec, 0, 0)
    assert joint.provenance.training["samples"] == (3 + 2) * 16 == cost.samples


def test_distillation_keeps_earlier_answers(planted):
    """The second task contradicts the first one on the same outputs. Distillation keeps the first answers."""
    settings = {**PLANTED, "tune_consolidation": None, "tune_distillation": (0.0, 4.0)}
    record = condense(planted, seed=find_seed(planted, "left"), **settings).provenance.record["collective"]
    (forgotten, _), (kept, _) = (point["accuracies"][-1] for point in record["tuning"]["points"])
    assert forgotten <= 0.2 < 0.8 <= kept
    assert record["tuning"]["chosen"] == 1


def test_distillation_sums_divergences_of_earlier_tasks(ancestors, pico):
    network = ancestors["vgg"]
    batch = next(iterate_batches(pico.val, 4))
    groups = [torch.tensor([0, 1, 2]), torch.tensor([3, 4])]
    logits = torch.linspace(-30, 30, 40).sin().mul(3).reshape(4, 10)
    with torch.no_grad():
        earlier = network.logits(batch.pixels)
    assert float(EarlierAnswers(network, groups, 3.0).compute_loss(earlier, batch)) == pytest.approx(0, abs=1e-6)
    expected = 0.0
    for group in groups:
        p, q = (logits_of[:, group].div(2).softmax(1) for logits_of in (earlier, logits))
        expected += 3 * 4 * float((p * (p / q).log()).sum(1).mean())
    assert float(EarlierAnswers(network, groups, 3.0).compute_loss(logits, batch)) == pytest.approx(expected, rel=1e-3)


def test_earlier_outputs_depend_on_the_kind_of_head():
    heads = Heads("per-task", (("a", "b"), ("b", "c"), ("d", "e")), ("a", "b", "c", "d", "e"), 2, 3)
    assert [group.tolist() for group in list_earlier_outputs(heads, 2)] == [[0, 1], [2, 3]]
    shared = replace(heads, kind="shared")
    assert [group.tolist() for group in list_earlier_outputs(shared, 2)] == [[0, 1, 2, 3, 4]]
    incremental = replace(heads, kind="class-incremental")
    assert [group.tolist() for group in list_earlier_outputs(incremental, 2)] == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tune_consolidation": (1.0, 1.0)}, r"names a value twice. Set each value once"),
        ({"tune_lr": ()}, "at least 1 item"),
        ({"tune_consolidation": (-1.0,)}, "greater than or equal to 0"),
        ({"tune_lr": (0.0,)}, "greater than 0"),
        ({"tune_consolidation": (1.0,)}, r"Only 3 tasks follow, but 4 are tuned on. Set tune_tasks=3"),
        ({"tune_consolidation": (1.0,), "tune_tasks": 1}, "The first task has no earlier one to keep"),
        ({"tune_consolidation": (1.0,), "tune_tasks": 2, "stream": "joint"}, "Remove tune_consolidation"),
    ],
)
def test_invalid_tuning_is_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        OpenWorld(preset="tiny", **settings)


def test_dump_without_tuning_has_no_tuning_settings():
    assert not [key for key in OpenWorld().model_dump(mode="json") if key.startswith(("tune_", "distil"))]
    tuned = OpenWorld(tune_lr=[0.01, 0.1])
    assert OpenWorld.model_validate(tuned.model_dump(mode="json")) == tuned
