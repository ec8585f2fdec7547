"""Checks that every architecture passes; the test file of each architecture gives the specs."""

import pytest
import torch

from germline.architectures import count_elements, extract_features, on_meta_device, select_channels


def build_random(architecture, spec, seed=0):
    """Build a network in eval mode whose tensors all differ from their initial values."""
    torch.manual_seed(seed)
    model = architecture.build(spec).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.startswith(("head.", "fc.")):
                tensor.uniform_(-1, 1)
            elif tensor.ndim == 1:
                # Running variances are positive.
                tensor.uniform_(0.5, 1.5) if name.endswith("var") else tensor.uniform_(-1, 1)
    return model


def count_parameters(architecture, spec):
    with on_meta_device():
        return sum(parameter.numel() for parameter in architecture.build(spec).parameters())


def make_images(spec, count=3):
    return torch.rand(count, spec.channels, spec.image_size, spec.image_size)


def check_parts_name_every_tensor_once(architecture, spec):
    model, parts = architecture.build(spec), architecture.parts(spec)
    names = [*parts.stem, *parts.norm, *parts.head, *(full for block in parts.blocks for full in block.values())]
    assert sorted(names) == sorted(count_elements(model))
    assert parts.stages == spec.stages
    assert sum(parts.stages) == len(parts.blocks) == len(architecture.feature_names(spec))
    assert any(name.endswith("running_mean") for name in parts.blocks[0])
    state = model.state_dict()
    assert {name for name in state if state[name].ndim == 4 and state[name].shape[1] == spec.channels} == set(
        parts.image_kernels
    )
    for index, block in enumerate(parts.blocks):
        own = architecture.block(spec, index).state_dict()
        assert {name: value.shape for name, value in own.items()} == {n: state[f].shape for n, f in block.items()}
    frame = architecture.frame(spec).state_dict()
    outside = (*parts.stem, *parts.norm, *parts.head)
    assert {name: value.shape for name, value in frame.items()} == {name: state[name].shape for name in outside}


def check_groups_cover_every_channel_once(architecture, spec):
    state, parts, seen = architecture.build(spec).state_dict(), architecture.parts(spec), []
    for group in architecture.groups(spec):
        assert any(member.role == "written" for member in group.members)
        assert any(member.role == "read" for member in group.members)
        for member in group.members:
            size = member.outer * group.width * member.inner
            assert state[member.tensor].shape[member.dim] == size, (group.name, member)
            seen.append((member.tensor, member.dim))
    expected = {(name, 0) for name, value in state.items() if value.ndim and name not in parts.head}
    expected |= {(n, 1) for n, value in state.items() if value.ndim in (2, 4) and n not in parts.image_kernels}
    assert sorted(seen) == sorted(expected)
    return len(seen)


def check_reordered_groups_compute_the_same(architecture, spec):
    model, groups = build_random(architecture, spec), architecture.groups(spec)
    order = {group.name: torch.arange(group.width).flip(0) for group in groups}
    tensors = select_channels(model.state_dict(), groups, order)
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, tensors[name])]
    assert len(moved) > len(tensors) / 2
    other = architecture.build(spec).eval()
    other.load_state_dict(tensors)
    images = make_images(spec)
    with torch.no_grad():
        assert torch.allclose(other(images), model(images), atol=1e-5)
        # Without reordering one member of one group, the outputs differ.
        incomplete = select_channels(model.state_dict(), groups[:1], order)
        last = groups[0].members[-1].tensor
        other.load_state_dict({**incomplete, last: model.state_dict()[last]})
        assert not torch.allclose(other(images), model(images), atol=1e-3)


def check_features_are_the_blocks_outputs(architecture, spec, shapes):
    model, images = build_random(architecture, spec), make_images(spec)
    with torch.no_grad():
        logits, found = extract_features(model, architecture.feature_names(spec), images)
        assert torch.equal(logits, model(images))
        assert [tuple(value.shape[1:]) for value in found.values()] == shapes
        last = found[architecture.feature_names(spec)[-1]]
        pooled = model.stages[-1].pool(last) if hasattr(model, "stages") else last
        assert torch.allclose(model.forward_head(pooled), logits)
    assert not any(module._forward_hooks for module in model.modules())


def check_flops_equal_counted_products(architecture, spec):
    """Count outputs x weights of every convolution and of the head, twice."""
    model, total = architecture.build(spec).eval(), 0

    def count(module, _, output):
        nonlocal total
        total += 2 * module.weight[0].numel() * output[0].numel()

    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(make_images(spec, 1))
    assert architecture.flops(spec) == total


def check_describe_refuses(architecture, model, match):
    from germline.errors import ArtefactError

    with pytest.raises(ArtefactError, match=match):
        architecture.describe(model)
