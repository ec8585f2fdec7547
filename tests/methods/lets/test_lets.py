"""LeTs from maps to descendants: formulas, counts, gradients, selected rows, and refused sizes and settings."""

from dataclasses import replace

import pytest
import torch

from germline.architectures import VIT, Size, VitSpec, count_elements
from germline.errors import SettingError
from germline.methods.lets.expansion import WidthMap, generate_blocks, widen_tensor
from germline.methods.lets.layout import GeneLayout, select_all, select_size
from germline.methods.lets.method import LeTs
from germline.network import load_strict
from germline.registry import architecture_of, model_spec
from germline.training import Distillation, Run

# Gene layers 0 to 3 of width 16, in heads of 8; large layers 0 to 5 of width 40.
SMALL = {"preset": "tiny", "depth": 6, "gene_depth": 4, "steps": 2}
SIZES = ("", "depth=3,width=24", "depth=1,width=16", "depth=5,width=8")


def condense(ancestor, images, folder=None, **settings):
    return LeTs(**{**SMALL, **settings}).condense(ancestor, images, Run(folder, device="cpu", quiet=True))


@pytest.fixture(scope="module")
def lets(ancestor, pico):
    """A gene of two pairs of layers."""
    return condense(ancestor, pico)


def read_layout(gene):
    method = gene.bound_method()
    return GeneLayout.from_spec(gene.spec, method.gene_width, method.gene_depth)


def test_paper_preset_has_the_published_sizes_and_counts():
    """The gene has 37.6 million elements: 15.0 million in frame and blocks, 22.6 million in maps, 256 coefficients."""
    method = LeTs(preset="paper")
    spec = model_spec("vit_base16", image_size=224, channels=3, classes=1000)
    spec = architecture_of(spec).resize(spec, method.auxiliary_size())
    method.check_auxiliary(spec)
    stored = method.cost(spec, 1_281_167, 0).stored
    totals = dict.fromkeys(("frame", "blocks", "map", "depth"), 0)
    for name, count in stored.items():
        first = name.split(".")[0]
        totals["map" if first.endswith("_map") else first] += count
    blocks = 8 * (12 * 384**2 + 13 * 384)
    frame = (768 + 1) * 384 + 196 * 768 + 2 * 384 + 1000 * 384 + 1000
    maps = 384**2 + 8 * (3 * 384**2 + 1536**2)
    assert totals == {"frame": frame, "blocks": blocks, "map": maps, "depth": 256}
    assert (frame + blocks, maps, sum(stored.values())) == (15_027_304, 22_560_768, 37_588_328)
    assert (method.epochs, method.lr, method.weight_decay, method.alpha) == (300, 5e-4, 0.05, 1)
    # Large layers 0 to 3 come from gene layers 0 and 1, and two consecutive ones share their coefficients.
    assert GeneLayout.from_spec(spec, 384, 8).layer_sources() == [(layer // 4, layer // 2) for layer in range(16)]


def test_first_pairs_have_one_more_layer_for_uneven_depths():
    layout = GeneLayout(width=16, depth=4, large_width=40, large_depth=7, head_length=8, mlp_ratio=4.0)
    assert layout.layer_sources() == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 2), (1, 2), (1, 3)]
    assert layout.start_coefficients().argmax(dim=1).tolist() == [0, 1, 0, 1]


def test_widening_follows_the_formula_of_the_paper():
    torch.manual_seed(0)
    weight, bias, rows_in, rows_out = torch.rand(4, 3), torch.rand(4), torch.rand(2, 3), torch.rand(5, 4)
    wide = torch.cat([weight, weight @ rows_in.T], 1)
    assert torch.equal(
        widen_tensor(weight, WidthMap(4, rows_out), WidthMap(3, rows_in)), torch.cat([wide, rows_out @ wide])
    )
    assert torch.allclose(widen_tensor(bias, WidthMap(4, rows_out), None), torch.cat([bias, rows_out @ bias]))
    kernel = torch.rand(4, 3, 2, 2)
    mapped = torch.einsum("fo,ocij->fcij", rows_out, kernel)
    assert torch.allclose(widen_tensor(kernel, WidthMap(4, rows_out), None), torch.cat([kernel, mapped]))
    assert torch.equal(widen_tensor(weight, WidthMap(2, rows_out[:0]), WidthMap(1, rows_in[:0])), weight[:2, :1])


def test_initial_values_are_those_of_the_public_code(lets):
    torch.manual_seed(0)
    network = lets.bound_method().build_auxiliary(lets.spec)
    for name, rows in network.named_parameters():
        if "_map" in name or name.startswith("depth"):
            assert torch.allclose(rows.sum(dim=1), torch.ones(len(rows)), atol=1e-5)
            assert float(rows.detach().min()) >= 0
    assert network.depth["norm1_weight"].argmax(dim=1).tolist() == [0, 1, 0, 1]
    assert float(network.depth["norm1_weight"].detach().amax(dim=1).min()) > 0.94
    assert {"frame.pos_embed", "depth.attn_q_weight"} <= network.no_weight_decay()


def test_gradients_reach_every_map(lets):
    network = lets.bound_method().build_auxiliary(lets.spec)
    load_strict(network, dict(lets.tensors), "the gene")

    def measure_gradients():
        network.zero_grad()
        network(torch.linspace(0, 1, 8 * 32 * 32).view(8, 1, 32, 32).sin()).square().sum().backward()
        return {name: float(one.grad.abs().max()) for name, one in network.named_parameters()}

    assert [name for name, gradient in measure_gradients().items() if not gradient > 0] == []
    torch.manual_seed(0)
    with torch.no_grad():  # moves away from the small initial values
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    # Softmax does not depend on the bias of the keys, so its coefficients have only rounding errors as gradients.
    assert {name for name, gradient in measure_gradients().items() if gradient < 1e-4} <= {"depth.attn_k_bias"}


def test_training_changes_every_tensor(lets, ancestor, pico):
    start = condense(ancestor, pico, steps=0)
    unchanged = {name for name, value in lets.tensors.items() if torch.equal(value, start.tensors[name])}
    assert unchanged <= {"depth.attn_k_bias"}  # softmax does not depend on the bias of the keys


def test_descendant_of_the_largest_size_is_the_auxiliary_network(lets, pixels):
    network = lets.bound_method().build_auxiliary(lets.spec)
    load_strict(network, dict(lets.tensors), "the gene")
    child = lets.inherit().network
    with torch.no_grad():
        assert torch.equal(network.eval()(child.preprocess(pixels)), child.logits(pixels))
        with torch.autocast("cpu", torch.bfloat16):
            generated = network.generate()
    assert all(torch.equal(value, generated[name]) for name, value in child.model.state_dict().items())


@pytest.mark.parametrize("rule", ["continuous", "top-n", "bottom-n"])
@pytest.mark.parametrize("size", SIZES)
def test_rows_without_a_map_are_copied(lets, size, rule):
    gene = replace(lets, settings={**lets.settings, "rows": rule})
    child = gene.inherit(size=Size.parse(size))
    tensors, width = child.model.state_dict(), child.network.spec.width
    own, full = min(width, 16), gene.tensors
    for name in ("patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"):
        assert torch.equal(tensors[name][:own], full[f"frame.{name}"][:own])
    assert torch.equal(tensors["head.weight"][:, :own], full["frame.head.weight"][:, :own])
    assert torch.equal(tensors["pos_embed"][..., :own], full["frame.pos_embed"][..., :own])
    columns = torch.cat([torch.arange(own), 16 + select_size(read_layout(gene), full, width, 1, rule).stream])
    assert torch.equal(tensors["pos_embed"], full["frame.pos_embed"][..., columns])
    counts = child.ledger.entries
    kind = "copied" if width >= 16 else "sliced"
    assert counts["norm.weight"] == {kind: own, **({"generated": width - own} if width > own else {})}
    assert counts["head.weight"].total() == 10 * width
    assert counts["head.bias"] == {"copied": 10}
    assert counts["pos_embed"] == {"copied" if width == 40 else "sliced": 16 * width}
    blocks = [name for name in counts if name.startswith("blocks")]
    assert all(counts[name].keys() == {"generated"} for name in blocks)
    child.ledger.check(count_elements(child.model))
    assert len({tensor.data_ptr() for tensor in tensors.values()}) == len(tensors)
    assert not {tensor.data_ptr() for tensor in tensors.values()} & {tensor.data_ptr() for tensor in full.values()}


def test_rows_are_selected_by_size_in_complete_heads(lets):
    full = {name: value.clone() for name, value in lets.tensors.items()}
    layout = read_layout(lets)
    full["stream_map"][5] = 9.0
    # Rows 8 to 15 are the second of three heads: the keys of one layer, and the values of a layer of the other pair.
    full["key_map.1"][8:16] += 5.0
    full["value_map.2"][8:16] += 5.0
    full["hidden_map.2"][7] = 9.0
    top = select_size(layout, full, 24, 2, "top-n")
    assert 5 in top.stream.tolist()
    assert [rows.tolist() for rows in top.attention] == 2 * [list(range(8, 16))]
    assert 7 in top.mlp[1].tolist()
    assert [len(rows) for rows in (top.stream, *top.attention, *top.mlp)] == [8, 8, 8, 32, 32]
    low = select_size(layout, full, 24, 2, "bottom-n")
    assert 5 not in low.stream.tolist()
    assert not set(low.attention[0].tolist()) & set(range(8, 16))
    assert top.stream.tolist() == sorted(top.stream.tolist())
    first = select_size(layout, full, 24, 2, "continuous")
    assert (first.stream.tolist(), first.layers) == (list(range(8)), (0, 3))
    # Every element of a descendant is an element of the auxiliary network.
    gene = replace(lets, tensors=full)
    auxiliary = generate_blocks(full, layout, select_all(layout), VIT.parts(gene.spec))
    parts = VIT.parts(gene.target(Size(depth=2, width=24)).spec)
    grown = generate_blocks(full, layout, top, parts)
    columns, heads = (
        torch.cat([torch.arange(16), 16 + top.stream]),
        torch.cat([torch.arange(16), 16 + top.attention[0]]),
    )
    qkv = auxiliary["blocks.0.attn.qkv.weight"].view(3, 40, 40)[:, heads][:, :, columns].reshape(72, 24)
    assert torch.allclose(grown["blocks.0.attn.qkv.weight"], qkv, atol=1e-5)
    projection = auxiliary["blocks.0.attn.proj.weight"][columns][:, heads]
    assert torch.allclose(grown["blocks.0.attn.proj.weight"], projection, atol=1e-5)
    hidden = torch.cat([torch.arange(64), 64 + top.mlp[1]])
    layer = auxiliary["blocks.3.mlp.fc2.weight"][columns][:, hidden]
    assert torch.allclose(grown["blocks.1.mlp.fc2.weight"], layer, atol=1e-5)


def test_width_without_heads_keeps_the_head_length(lets):
    assert lets.target(Size(width=24)).spec.heads == 3
    assert lets.target(Size(width=8)).spec.heads == 1
    capped = lets.inherit(size=Size(max_params=60_000)).network.spec
    assert (capped.depth, capped.width, capped.heads) == (4, 24, 3)
    assert lets.describe_sizes() == "depth=6 or less and width=40 or less, in heads of 8 channels"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("width=48", r"cannot grow width=48\. Its maps were learnt in.* width=40\. Use width=40 or less"),
        ("depth=7", r"cannot grow depth=7\..*Use depth=6 or less"),
        ("width=24,heads=2", r"cannot grow width=24,heads=2\..*8 channels\. Use for example width=24,heads=3"),
        ("width=20,heads=2", r"cannot grow width=20,heads=2"),
        ("width=20", "width=20"),
        ("heads=10", r"cannot grow width=40,heads=10\..*8 channels\. Remove heads from the size"),
        ("heads=3", r"cannot grow width=40,heads=3\..*Use width=24,heads=3"),
    ],
)
def test_sizes_that_the_gene_cannot_grow_are_refused(lets, size, message):
    with pytest.raises(SettingError, match=message):
        lets.inherit(size=Size.parse(size))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gene_width": 40}, r"gene_width=40 with width=40\..*8 channels\. Set gene_width to a multiple of 8 up to 32"),
        ({"gene_width": 12}, "gene_width=12"),
        ({"width": 8, "heads": 1}, "gene_width=16 with width=8.*Set more heads"),
        ({"gene_depth": 3}, r"gene_depth=3 with depth=6\..*an even number up to 6"),
        ({"gene_depth": 8}, "gene_depth=8"),
        ({"model": "vgg11"}, "cannot condense in a vgg"),
    ],
)
def test_settings_that_do_not_fit_the_ancestor_are_refused(settings, message, ancestor, pico):
    with pytest.raises(SettingError, match=message):
        LeTs(**{**SMALL, **settings}).condense_spec(ancestor, pico)


@pytest.mark.parametrize(
    "changes",
    [
        {"init_values": 0.1, "class_token": True, "global_pool": "token"},
        {"qk_norm": True, "qkv_bias": False, "reg_tokens": 2, "class_token": True, "norm_first": False},
    ],
)
def test_genes_support_other_blocks_and_images(changes):
    spec = VitSpec(
        image_size=32, channels=1, classes=10, depth=6, width=40, heads=5, patch_size=8, mlp_ratio=2.5, **changes
    )
    method = LeTs(**SMALL)
    method.check_auxiliary(spec)
    torch.manual_seed(0)
    auxiliary = method.build_auxiliary(spec)
    gene = make_gene(method, spec, auxiliary.gene_tensors())
    for size in SIZES:
        child = gene.inherit(size=Size.parse(size), channels=3, image_size=48, classes=3)
        child.ledger.check(count_elements(child.model), fresh_allowed=["head.weight", "head.bias"])
        assert child.ledger.entries["patch_embed.proj.weight"].keys() == {"adapted"}
        assert child.ledger.entries["pos_embed"].keys() == {"resized"}
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(auxiliary.eval()(images), gene.inherit().model(images))


def make_gene(method, spec, tensors):
    from germline.architectures import Preprocess
    from germline.methods.base import empty_gene

    images = Preprocess.from_images(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    return replace(empty_gene(method, spec, images), tensors=tensors, classes=tuple("abcdefghij"))


def test_killed_training_resumes_to_the_same_gene(lets, ancestor, pico, tmp_path, monkeypatch):
    original, calls = Distillation.loss, []

    def break_once(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *arguments)

    monkeypatch.setattr(Distillation, "loss", break_once)
    with pytest.raises(KeyboardInterrupt):
        condense(ancestor, pico, tmp_path, checkpoint_every=1)
    resumed = condense(ancestor, pico, tmp_path, checkpoint_every=1)
    assert len(calls) == 3
    assert all(torch.equal(value, lets.tensors[name]) for name, value in resumed.tensors.items())
