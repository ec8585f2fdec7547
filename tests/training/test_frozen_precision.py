"""Teachers and scored networks compute in the precision of their run, and are restored afterwards."""

import pytest
import torch

from germline.registry import METHODS
from germline.training import Distillation, Run, TrainSettings, score_model

LOW = ("bf16-mixed", "bf16-true")
SHORT = TrainSettings(steps=3, batch_size=24, lr=5e-3, log_every=1)
# bf16 has 8 bits of mantissa. The logits of these networks are below 10, and losses average over 24 images.
TOLERANCE = 0.05


@pytest.fixture
def watch():
    """Function that records the types of a layer's inputs and outputs."""
    handles = []

    def start(layer):
        seen = set()
        handles.append(layer.register_forward_hook(lambda _, inputs, output: seen.add((inputs[0].dtype, output.dtype))))
        return seen

    yield start
    for handle in handles:
        handle.remove()


def fit(precision, network, objective, pico):
    return Run(device="cpu", precision=precision, quiet=True).fit("phase", network, objective, pico.train, SHORT)


@pytest.mark.parametrize("family", ["vit", "resnet"])
@pytest.mark.parametrize("precision", LOW)
def test_teacher_computes_in_bf16_and_is_restored(precision, family, ancestors, make_network, pico, watch):
    teacher = ancestors[family]
    layer = teacher.model.blocks[0].mlp.fc1 if family == "vit" else teacher.model.layer1[0].conv2
    seen, before = watch(layer), {name: (t, t.clone()) for name, t in teacher.model.state_dict().items()}
    objective = Distillation(teacher, alpha=0.7, temperature=2.0)
    losses = [loss for _, loss in fit(precision, make_network(), objective, pico).losses]
    assert seen
    assert {output for _, output in seen} == {torch.bfloat16}
    for name, tensor in teacher.model.state_dict().items():
        assert tensor.data_ptr() == before[name][0].data_ptr()
        assert torch.equal(tensor, before[name][1])
    assert not {"forward", "forward_features", "forward_head"} & vars(teacher.model).keys()
    seen.clear()
    plain = [loss for _, loss in fit("32-true", make_network(), objective, pico).losses]
    assert seen == {(torch.float32, torch.float32)}
    assert losses == pytest.approx(plain, abs=TOLERANCE)
    assert losses != plain


# Methods whose losses read the ancestor in other ways.
SMALL = {"steps": 2, "batch_size": 16}
TRAINED = {
    "features": ("tleg", {**SMALL, "depth": 3, "target": "features"}),
    "tokens": ("tleg", {**SMALL, "depth": 3, "target": "tokens"}),
    "hidden maps": ("pool", {"preset": "tiny", "losses": "all", "distil": SMALL, "finetune": SMALL}),
    "layers": ("auto", {**SMALL, "preset": "tiny"}),
}


@pytest.mark.parametrize("how", TRAINED)
@pytest.mark.parametrize("precision", LOW)
def test_method_s_teacher_computes_in_bf16(precision, how, ancestor, pico, watch):
    name, settings = TRAINED[how]
    method = METHODS[name](**settings)
    seen = watch(ancestor.model.blocks[0].mlp.fc1)
    method.condense(ancestor, pico, Run(device="cpu", precision=precision, quiet=True))
    assert torch.bfloat16 in {output for _, output in seen}
    assert {value.dtype for value in ancestor.model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("precision", LOW)
def test_run_scores_a_network_in_its_precision(precision, ancestor, pico, watch):
    seen = watch(ancestor.model.blocks[0].mlp.fc1)
    score = Run(device="cpu", precision=precision, quiet=True).evaluate(ancestor, pico.val)
    assert {output for _, output in seen} == {torch.bfloat16}
    plain = score_model(ancestor.model, ancestor.logits, pico.val)
    assert score.loss == pytest.approx(plain.loss, abs=TOLERANCE)
    assert score != plain
    assert Run(device="cpu", quiet=True).evaluate(ancestor, pico.val) == plain


def test_score_can_use_chosen_outputs(ancestor, pico):
    columns = torch.arange(10)
    run = Run(device="cpu", quiet=True)
    assert run.evaluate(ancestor, pico.val, columns) == run.evaluate(ancestor, pico.val)
    assert run.evaluate(ancestor, pico.val, columns.flip(0)).accuracy < 0.5


def test_shared_tensors_are_trained_with_the_student(make_network, pico):
    student, teacher = make_network(), make_network()
    teacher.model.head = student.model.head
    before = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    fit("bf16-true", student, Distillation(teacher, alpha=0.5), pico)
    for name, tensor in teacher.model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name]) == (not name.startswith("head."))
