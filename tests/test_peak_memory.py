"""Memory of inheriting, saving and loading: one copy of the network, and files read by memory map."""

import ctypes
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from germline.architectures import VIT, Preprocess, Size, VitSpec, on_meta_device
from germline.baselines.weight_selection import WeightSelection
from germline.files import write_tensors
from germline.learngene import TENSORS_FILE, Learngene
from germline.methods.front import FRONT, cosine
from germline.methods.front.roles import list_roles
from germline.methods.grow import Grow
from germline.methods.tleg import TLEG
from germline.methods.tleg.expansion import ExpandedNetwork

MAX_RATIO = 1.2
WIDE = VitSpec(image_size=32, channels=3, classes=3, depth=8, width=256, heads=4, patch_size=8)
NARROW = WIDE.model_copy(update={"width": 128, "heads": 2})
SHALLOW = WIDE.model_copy(update={"depth": 4})
DEEP = WIDE.model_copy(update={"depth": 32})
SIZE = Size(depth=8, width=256, heads=4)
TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


def list_coefficients():
    roles = list_roles(DEEP, "transform")
    return {key: torch.empty(cosine.coefficient_shape(role, 0.5)) for key, role in roles.items()}


CASES = {
    "tleg": (TLEG(), WIDE, SIZE, lambda: ExpandedNetwork(VIT, WIDE, (8,)).state_dict()),
    "grow": (Grow(), NARROW, SIZE, lambda: VIT.build(NARROW).state_dict()),
    "weight-selection": (WeightSelection(), SHALLOW, SIZE, lambda: VIT.build(SHALLOW).state_dict()),
    "front": (FRONT(keep=0.5), DEEP, Size(depth=32, width=256, heads=4), list_coefficients),
}


def save_gene(name, folder):
    method, spec, _, list_shapes = CASES[name]
    with on_meta_device():
        shapes = list_shapes()
    tensors = {key: torch.full(tensor.shape, 0.1) for key, tensor in shapes.items()}
    images = Preprocess(channels=3, image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    Learngene(name, method.model_dump(mode="json"), "vit", spec, tensors, images, ("a", "b", "c")).save(folder)


def read_bytes(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def restart_peak():
    """Release free memory, reset the peak of resident memory, and return the present value."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        pytest.skip("the system does not restart the peak of a process's memory")
    return read_bytes("VmRSS")


@pytest.mark.parametrize("name", CASES)
def test_inherit_and_save_use_memory_for_one_network_and_the_gene(tmp_path, monkeypatch, name):
    # Front's parts are then as small, relative to this network, as those of a large one.
    monkeypatch.setattr(cosine, "PART_ELEMENTS", 2**17)
    save_gene(name, tmp_path / "gene")
    size = CASES[name][2]
    Learngene.load(tmp_path / "gene").inherit(size).save(tmp_path / "first")  # imports are not measured
    before = restart_peak()
    gene = Learngene.load(tmp_path / "gene")
    descendant = gene.inherit(size)
    descendant.save(tmp_path / "out")
    grown = read_bytes("VmHWM") - before
    state = descendant.model.state_dict()
    assert grown <= MAX_RATIO * (sum(tensor.nbytes for tensor in state.values()) + gene.count_bytes())
    # Nothing is shared with the gene, or between two tensors of the descendant.
    spans = sorted((tensor.data_ptr(), tensor.nbytes) for tensor in (*gene.tensors.values(), *state.values()))
    assert all(start + size <= after for (start, size), (after, _) in pairwise(spans))


def test_gene_is_read_by_memory_map(tmp_path):
    save_gene("weight-selection", tmp_path)
    gene = Learngene.load(tmp_path)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the system does not list the files that a process maps")
    assert str(tmp_path / TENSORS_FILE) in maps.read_text()
    assert gene.tensors


def list_types():
    """List the types to compare: safetensors 0.4 does not write unsigned 16 bits."""
    try:
        save({"one": torch.zeros(1).to(torch.uint16)})
    except KeyError:
        return TYPES
    return (*TYPES, "uint16")


@pytest.mark.parametrize("metadata", [None, {"key": 'tab\t, "quoted", ä, \x7f'}])
def test_tensor_files_equal_those_of_safetensors(tmp_path, metadata):
    keys = [(kind, key) for kind in list_types() for key in ("ä", "b", "Z\n")]
    tensors = {f"{kind}.{key}": torch.arange(3).to(getattr(torch, kind)) for kind, key in keys}
    tensors |= {"empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5)}
    for place, given in (("plain", tensors), ("unusual", {**tensors, "f8": torch.zeros(2).to(torch.float8_e4m3fn)})):
        write_tensors(tmp_path / place, given, metadata)
        save_file(given, tmp_path / "theirs", metadata)
        assert (tmp_path / place).read_bytes() == (tmp_path / "theirs").read_bytes()
