"""Cases, hashes and commands that the golden tests and `tools/build_golden.py` share.

They use public names only: top-level names of `germline`, its registry, and the command line. A renamed one is
changed in this file alone.
"""

import hashlib
import json
import platform
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file

import germline as gl
import germline.timm  # registers the architectures that timm itself does not have
from germline.cli import main
from germline.errors import SettingError
from germline.registry import ARCHITECTURES, METHODS

GOLDEN = Path(__file__).parent / "golden"
DATA = "digits"
SHORT = {"steps": 2, "epochs": 0.5, "batch_size": 8, "preset": "tiny"}
# Settings of a method that differ from SHORT, by method and then by architecture.
SETTINGS = {
    "random-gene": {"settings": {"steps": 2, "batch_size": 8}},
    # `auto` would choose the faster engine of this machine, and engines differ in the last bits.
    # The selection rules when the golden files were written.
    "gtl": {"engine": "loop", "size": "width=2", "rules": "published"},
    "openworld": {"size": "width=1"},
    "pool": {"widths": (4, 8), "heads": (1, 2)},
    "snnet": {"widths": (4, 8), "heads": (1, 2)},
    "stored": {"gene": "genes/tleg"},
}
MODELS = {"vgg": "vgg11_x025", "resnet12": "resnet12_x025"}
# The architecture of each method whose tensors are stored one by one.
FULL_ARCHITECTURE = {
    "tleg": "vit",
    "auto": "vit",
    "pool": "vit",
    "gtl": "vgg",
    "openworld": "vgg",
    "finetune": "vit",
    "scratch": "vit",
    "xavier": "vit",
    "weight-selection": "vit",
    "layers": "vit",
    "random-gene": "vit",
    "stored": "vit",
    "distil": "vit",
    "snnet": "vit",
    "circuit": "vgg",
    "last-layers": "resnet12",
}
# Methods that came later, without stored files.
LATER = ("random-layers", "frame", "sws", "lets", "front", "grow")
WITHOUT_GENE = ("scratch", "xavier")
# Sizes of the descendants with new classes; all others have the gene's own.
SIZES = {
    ("tleg", "vit"): "depth=3",
    ("random-gene", "vit"): "depth=3",
    ("stored", "vit"): "depth=3",
    ("pool", "vit"): "front=4,end=8,j=1,k=2",
    ("snnet", "vit"): "front=4,end=8,j=1,k=2",
    ("weight-selection", "vit"): "depth=1,width=4,heads=1",
    ("weight-selection", "vgg"): "width=1",
    ("layers", "vit"): "depth=1",
    ("scratch", "vit"): "depth=3",
    ("xavier", "vit"): "depth=3",
    ("distil", "vit"): "depth=1",
    ("auto", "vit"): "depth=3",
}
# Methods whose descendants are stored as folders.
DESCENDANTS = ("tleg", "pool", "openworld")
NEW_CLASSES = ("a", "b", "c")
SEED = 5
TRAINING = {"steps": 2, "batch_size": 8, "lr": 1e-2, "warmup": 0.0}
# Methods in LATER have no stored files.
CASES = [
    (method, architecture)
    for method in METHODS
    if method in FULL_ARCHITECTURE
    for architecture in METHODS[method].architectures
]


# Commands.


def command(*words):
    """Run `germline ...` in this process and return its exit code."""
    before, sys.argv = sys.argv, ["germline", *map(str, words)]
    try:
        main()
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = before
    return 0


TRAIN = ("train", "--model", "models/vit", "--data", DATA, "--device", "cpu", "--quiet")
UNFINISHED = (*TRAIN, "--set", "steps=60", "--set", "batch_size=8", "--set", "checkpoint_every=5")
UNFINISHED += ("--set", "keep_checkpoints=1", "--out", "unfinished")
FRESH = ("train", "--model", "vit_pico", "--data", DATA, "--device", "cpu", "--quiet")
FRESH += ("--set", "steps=2", "--set", "batch_size=8", "--out", "fresh")
COMPARE = ("compare", "recipe.yaml", "--out", "comparison", "--workers", "1", "--quiet")
# The same comparison, which trains its ancestor. The ancestor is too large to store, so only the names of the parts
# are stored.
BRED = (*COMPARE[:3], "bred", *COMPARE[4:], "--set", "ancestor.path=null", "--set", "ancestor.model=vit_pico")
BRED += ("--set", "ancestor.train={steps: 1, batch_size: 8}")


# Genes and descendants.


def method_of(name, architecture):
    """A method with the smallest settings."""
    kind = METHODS[name]
    settings = {key: value for key, value in SHORT.items() if key in kind.model_fields}
    if name == "tleg":  # it had no presets when the golden files were written
        settings.pop("preset")
    if kind.ancestor == "none" and "model" in kind.model_fields:
        settings["model"] = MODELS[architecture]
    return kind(**{**settings, **SETTINGS.get(name, {})})


def ancestor_of(architecture):
    """The stored network of an architecture; the working directory is a golden folder."""
    return gl.load_network(f"models/{architecture}")


def condense(name, architecture, folder=None):
    """Condense the gene of a case, and write its run's folder; None for a method without a gene."""
    method = method_of(name, architecture)
    given = None if METHODS[name].ancestor == "none" else ancestor_of(architecture)
    try:
        return gl.condense(method, ancestor=given, data=DATA, run=gl.Run(folder, device="cpu", quiet=True))
    except SettingError as error:
        if name in WITHOUT_GENE and "has no gene" in str(error):
            return None
        raise


def inherit(name, architecture, gene, *, new=False):
    """A descendant: of the gene's own size for the digits, or of the case's size for new classes."""
    ancestor = ancestor_of(architecture)
    classes = NEW_CLASSES if new else ancestor.classes
    size = gl.Size.parse(SIZES.get((name, architecture), "") if new else "")
    if gene is not None:
        return gene.inherit(size=size, classes=classes, seed=SEED)
    form = gl.Learngene(name, {}, architecture, ancestor.spec, {}, ancestor.preprocess, ancestor.classes)
    source = torch.Generator().manual_seed(SEED)
    return method_of(name, architecture).inherit(None, form.target(size, classes), source)


def train(name, architecture, gene, child):
    """Train a descendant in place with its method's objective; return the last validation accuracy."""
    objective = None if gene is None else gene.bound_method().objective(gene, child)
    settings = gl.TrainSettings(**TRAINING)
    run = gl.Run(device="cpu", quiet=True)
    return gl.train(child.network, gl.load_data(DATA), settings, objective=objective, run=run).accuracy


def results_of(name, architecture, folder=None):
    """Return the stored facts of a case, and the gene.

    On one architecture of the method, each tensor of the gene and of the descendant with new classes has a line.
    """
    gene = condense(name, architecture, folder)
    own, new = inherit(name, architecture, gene), inherit(name, architecture, gene, new=True)
    shown = (lambda facts: facts) if FULL_ARCHITECTURE[name] == architecture else summary_of
    found = {
        "gene": None if gene is None else shown(facts_of(gene.tensors)),
        "new": shown(facts_of(new.model.state_dict())),
        "own": summary_of(facts_of(own.model.state_dict())),
    }
    train(name, architecture, gene, own)
    return {**found, "trained": summary_of(facts_of(own.model.state_dict()))}, gene


# Hashes.


def fact_of(tensor):
    """A tensor in a line: the start of its sha256, shape, type, mean and L2 norm."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]
    wide = tensor.double()
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    return f"{digest} {shape} {str(tensor.dtype)[6:]} {wide.mean().item():.6e} {wide.norm().item():.6e}"


def facts_of(tensors):
    """Facts of many tensors, by name."""
    return {name: fact_of(tensor) for name, tensor in sorted(tensors.items())}


def summary_of(facts):
    """Facts in a line: the start of a sha256 over all of them, their number, and the norm over all tensors."""
    if facts is None:
        return None
    digests = [(name, *fact.split()[:3]) for name, fact in sorted(facts.items())]
    digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]
    norm = sum(float(fact.split()[4]) ** 2 for fact in facts.values()) ** 0.5
    shapes = hashlib.sha256(json.dumps([(name, *more) for name, _, *more in digests]).encode()).hexdigest()[:16]
    return f"{digest} {shapes} {len(facts)} {norm:.6e}"


def weights_of(folder):
    """Facts of a model folder's tensors, read without germline."""
    return facts_of(load_file(Path(folder) / "model.safetensors"))


def store_weights(folder):
    """A summary of the tensors in each file of a comparison's store, by the file's path."""
    files = [path for path in names_in(folder) if path.endswith(".safetensors")]
    tensors = {path: load_file(Path(folder) / path) for path in files}
    return {path: summary_of(facts_of(tensors[path])) for path in files}


def model_folders():
    """All model folders, relative to the golden folder."""
    return [*(f"models/{name}" for name in ARCHITECTURES), *(f"descendants/{name}" for name in DESCENDANTS)]


def rounded_logits(network):
    """Logits of the fixed images, as nested lists."""
    with torch.no_grad():
        return [[round(value, 6) for value in row] for row in network.logits(pixels()).tolist()]


def pixels():
    """Four images of a fixed pattern: float32 [4, 1, 32, 32] in [0, 1]."""
    return (torch.arange(4 * 32 * 32).reshape(4, 1, 32, 32) * 37 % 251 / 250).float()


def names_in(folder):
    """All files below a folder but locks, as sorted relative paths."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.relative_to(folder).as_posix() for path in files)


def keys_of(value, prefix=""):
    """All paths of keys in a JSON value; entries of a list share one place."""
    if isinstance(value, dict):
        paths = [{f"{prefix}{key}", *keys_of(inner, f"{prefix}{key}.")} for key, inner in value.items()]
    elif isinstance(value, list):
        paths = [keys_of(inner, f"{prefix}[].") for inner in value]
    else:
        paths = []
    return set().union(*paths)


def environment():
    """What bits depend on besides germline: libraries, the CPU's kernels, and the outcome of plain torch and timm."""
    return {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "probe": _probe(),
    }


def _probe():
    """Hash of a few trainings and solutions that do not use germline."""
    digest = hashlib.sha256()
    with torch.random.fork_rng():
        for name, more in (
            ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}),
            ("resnet18", {}),
        ):
            for optimizer in (torch.optim.AdamW, torch.optim.SGD):
                torch.manual_seed(0)
                model = timm.create_model(name, num_classes=10, in_chans=1, **more)
                steps = optimizer(model.parameters(), lr=1e-3)
                for _ in range(2):
                    images, labels = torch.rand(8, 1, 32, 32), torch.randint(10, (8,))
                    steps.zero_grad()
                    torch.nn.functional.cross_entropy(model(images), labels).backward()
                    steps.step()
                for tensor in model.state_dict().values():
                    digest.update(tensor.numpy().tobytes())
        torch.manual_seed(0)
        left, right = torch.randn(100, 17, dtype=torch.float64), torch.randn(100, 8, dtype=torch.float64)
        digest.update(torch.linalg.lstsq(left, right).solution.numpy().tobytes())
        digest.update(torch.linalg.pinv(left).numpy().tobytes())
    return digest.hexdigest()[:16]


assert {*FULL_ARCHITECTURE, *LATER} == set(METHODS), (
    "add a new method to LATER until a release's golden files contain it"
)
ARCHITECTURES = tuple(ARCHITECTURES)
