"""Table of bad inputs: the command line, and parts of the expected error message."""

import hashlib
import json
import pickle
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

RECIPE = """\
title: Two arms on digits
protocol: samples
kind: quick
minutes: 1
data: digits
ancestor: {data: digits, path: ancestor}
arms:
  gene: {method: tleg, settings: {steps: 2, batch_size: 8}}
  scratch: {method: scratch}
sizes: [depth=2]
images_per_class: [2]
seeds: [0, 1]
train: {steps: 2, batch_size: 8}
"""


def snapshot(place: Path) -> dict[str, str]:
    """Return all paths below a folder, with the sha256 of a file or the kind of another path."""
    found = {}
    for path in sorted(place.rglob("*")):
        kind = f"-> {path.readlink()}" if path.is_symlink() else "folder" if path.is_dir() else ""
        found[str(path.relative_to(place))] = kind or hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _nothing(_: Path) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """One bad input.

    Attributes:
        id: Name of the test.
        words: Command line after `germline`; an empty string is written as ''.
        says: Parts of the message: the file or key, and the fix.
        prepare: Function that writes the fault into the working folder.
    """

    id: str
    words: str
    says: tuple[str, ...]
    prepare: Callable[[Path], None] = _nothing


def recipe(*changes: tuple[str, str]) -> Callable[[Path], None]:
    """Function that writes r.yaml with parts of its text replaced."""

    def prepare(place: Path) -> None:
        text = RECIPE
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        (place / "r.yaml").write_text(text)

    return prepare


def text(name: str, content: str) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)

    return prepare


def content(name: str, data: bytes) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        (place / name).write_bytes(data)

    return prepare


def both(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        for step in steps:
            step(place)

    return prepare


def cut(name: str, share: float) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: int(len(content) * share)])

    return prepare


def flip(name: str, share: float) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        content = bytearray((place / name).read_bytes())
        content[int(len(content) * share)] ^= 1
        (place / name).write_bytes(bytes(content))

    return prepare


class _Trap:
    def __reduce__(self):
        return Path.touch, (Path("pickle-was-run"),)


def trap(name: str) -> Callable[[Path], None]:
    """Function that writes a pickle, which creates a file if it is loaded."""
    return content(name, pickle.dumps(_Trap()))


def manifest(name: str, **changes: object) -> Callable[[Path], None]:
    def prepare(place: Path) -> None:
        data = json.loads((place / name).read_text())
        data = {key: value for key, value in {**data, **changes}.items() if value != "gone"}
        (place / name).write_text(json.dumps(data))

    return prepare


def save_path_record(record: object) -> Callable[[Path], None]:
    """Function that saves an intact gene with this record of its paths."""

    def prepare(place: Path) -> None:
        from germline.learngene import Learngene

        gene = Learngene.load(place / "gene")
        origin = gene.provenance.model_copy(update={"record": {"paths": record}})
        replace(gene, provenance=origin).save(place / "gene", overwrite=True)

    return prepare


def remove(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).unlink()


def write_images(place: Path) -> None:
    """Write an image folder of two classes with train, val and test."""
    from PIL import Image

    for split, names in (("train", "ab"), ("val", "ab"), ("test", "ab")):
        for name in names:
            folder = place / "photos" / split / name
            folder.mkdir(parents=True)
            for index in range(3):
                Image.new("L", (32, 32), index * 9).save(folder / f"{index}.png")


def write_two_images(place: Path) -> None:
    """Write a folder of two classes with one image each. No image is selected for training."""
    from PIL import Image

    for name in "ab":
        (place / "two" / name).mkdir(parents=True)
        Image.new("L", (32, 32), 9).save(place / "two" / name / "0.png")


def write_unlabelled(place: Path) -> None:
    from PIL import Image

    for split in ("train", "val"):
        (place / "plain" / split).mkdir(parents=True)
        for index in range(3):
            Image.new("L", (32, 32), index * 9).save(place / "plain" / split / f"{index}.png")


def write_broken_image(place: Path) -> None:
    write_images(place)
    (place / "photos/train/a/0.png").write_bytes(b"no picture")


def write_one_class(place: Path) -> None:
    write_images(place)
    for split in ("train", "val", "test"):
        shutil.rmtree(place / "photos" / split / "b")


def write_truncated_image(place: Path) -> None:
    """Write a JPEG whose end is missing, as after a broken download."""
    import numpy as np
    from PIL import Image

    write_images(place)
    path = place / "photos/train/a/0.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:2000])


KEPT = text("kept/file", "of mine")
TRAIN, NEW = "train --device cpu --quiet --data digits --set steps=1", "train --device cpu --quiet --model ancestor"
CONDENSE = "condense --device cpu --quiet --method tleg --data digits --ancestor ancestor --set steps=1"
FRONT = "condense --device cpu --quiet --method front --data digits --ancestor ancestor --out new"
INHERIT = "inherit gene --out new"

TUNE = "tune={lr: [1e-3], weight_decay: [0], size: depth=2, images_per_class: 2, seed: 1}"

GRID, FAMILY = "grid={lr: [1e-3, 1e-2], weight_decay: [0]}", "family={size: depth=2, images_per_class: 2}"
PATHS = ["protocol=paths", "sizes=[depth=1, depth=2]"]
UNTRAINED = [*PATHS, "arms.gene.train.steps=0"]


def _set(*changes: str) -> str:
    return " ".join(f"--set {shlex.quote(change)}" for change in changes)


FAULTS = [
    # Names
    Fault("verb", "trian", ("'trian'", "train")),
    Fault("no-verb", "", ("No command", "--help")),
    Fault("option", f"{TRAIN} --model vit_pico --ouy new", ("--ouy", "--out")),
    Fault("missing-option", "train --model vit_pico --data digits", ("--out",)),
    Fault("missing-argument", "inspect", ("Missing argument",)),
    Fault("method", "condense --method tlge --data digits --out new", ("Unknown method 'tlge'", "tleg")),
    Fault("model", f"{TRAIN} --model vit_pcio --out new", ("Unknown model 'vit_pcio'", "vit_pico")),
    Fault("timm-model", f"{TRAIN} --model timm:vit_tinny --out new", ("Unknown model 'vit_tinny'", "Did you mean")),
    Fault("not-a-vit", f"{TRAIN} --model mobilenetv3_small_050 --out new", ("MobileNetV3", "germline list models")),
    Fault("not-a-plain-resnet", f"{TRAIN} --model resnet14t --out new", ("ResNet", "Bottleneck")),
    Fault("data", f"{NEW} --data digit --out new", ("Unknown data set 'digit'", "digits")),
    Fault("data-part", f"{NEW} --data glyphs/bse --out new", ("glyphs 'bse'", "base")),
    Fault("data-no-part", f"{NEW} --data glyphs --out new", ("part of glyphs", "base", "novel")),
    Fault("data-location", f"{NEW} --data digits:/x --out new", ("digits:/x", "Use digits")),
    Fault("model-of-ours", f"{TRAIN} --model vgg12 --out new", ("Unknown model 'vgg12'", "vgg13")),
    Fault("model-folder", f"{TRAIN} --model models/none --out new", ("No model at 'models/none'", "list models")),
    Fault("recipe-file", "check missing.yaml", ("No recipe at 'missing.yaml'", "list recipes")),
    Fault("recipe", "check dmeo", ("Unknown recipe 'dmeo'", "demo")),
    Fault("recipe-to-show", "show dmeo", ("Unknown recipe 'dmeo'", "demo")),
    Fault("recipe-to-run", "compare dmeo --out new", ("Unknown recipe 'dmeo'", "demo")),
    Fault("kind", "list method", ("Unknown kind 'method'", "methods")),
    # Sizes
    Fault("size-width", f"{INHERIT} --size width=32", ("width=32", "the gene has width=16", "Remove width")),
    Fault("size-heads", f"{INHERIT} --size heads=4", ("heads=4", "the gene has heads=2", "Remove heads")),
    Fault("width-not-by-heads", f"{INHERIT} --size width=17", ("width=17 with heads=2", "Use for example width=16")),
    Fault("front-keep-0", f"{FRONT} --set keep=0", ("keep=0", "greater than 0")),
    Fault("front-keep-2", f"{FRONT} --set keep=1.5", ("keep=1.5", "less than or equal to 1")),
    Fault("depth-0", f"{INHERIT} --size depth=0", ("depth=0", "at least 1")),
    Fault("depth-negative", f"{INHERIT} --size depth=-1", ("depth=-1", "at least 1")),
    Fault("depth-huge", f"{INHERIT} --size depth=1001", ("depth=1001", "between 1 and 1000")),
    Fault("size-text", f"{INHERIT} --size depth=six", ("depth=six", "depth=6")),
    Fault("size-float", f"{INHERIT} --size depth=1.5", ("depth=1.5", "depth=6")),
    Fault("size-exponent", f"{INHERIT} --size depth=²", ("depth=²", "depth=6")),
    Fault("size-two-minus", f"{INHERIT} --size depth=--5", ("depth=--5", "depth=6")),
    Fault("size-digits", f"{INHERIT} --size depth={'9' * 5000}", ("depth=6",)),
    Fault("size-no-value", f"{INHERIT} --size depth", ("'depth'", "depth=6")),
    Fault("size-key", f"{INHERIT} --size dept=6", ("'dept'", "Use depth, width or heads")),
    Fault("cap-low", f"{INHERIT} --max-params 1K", ("max_params=1000", "smallest size, depth=1,", "Set a higher cap")),
    Fault("cap-flops", f"{INHERIT} --max-flops 1K", ("max_flops=1000", "smallest size, depth=1,", "Set a higher cap")),
    Fault("cap-and-size", f"{INHERIT} --size depth=2 --max-params 1M", ("chooses the whole size", "Remove depth")),
    Fault(
        "size-cap",
        "check r.yaml",
        ("max_params=1000000", "no gene", "Use depth"),
        recipe(("[depth=2]", "[max_params=1M]")),
    ),
    Fault("inspect-size", "inspect gene --size width=32", ("width=32", "Remove width")),
    Fault("classes-0", f"{INHERIT} --classes 0", ("classes=0", "at least one")),
    Fault("classes-and-data", f"{INHERIT} --classes 3 --data digits", ("--classes", "--data", "only one")),
    Fault("channels", f"{INHERIT} --channels 2", ("channels=2", "grey (1)")),
    Fault("image-size", f"{INHERIT} --image-size 33", ("image_size=33", "patch_size=8")),
    Fault("image-size-0", f"{INHERIT} --image-size 0", ("image_size=0", "image_size=32")),
    # Genes
    Fault("gene-missing", "inspect missing", ("No learngene at 'missing'", "germline condense")),
    Fault("size-of-a-model", "inspect ancestor --size depth=3", ("--size with a network", "Remove --size")),
    *(
        Fault(
            f"gene-cut-{part}",
            INHERIT,
            ("learngene.safetensors", "again, or restore a copy"),
            cut(f"gene/{name}", part / 16),
        )
        for name in ("learngene.safetensors",)
        for part in (0, 1, 4, 8, 12, 15)
    ),
    Fault(
        "gene-cut-inspect",
        "inspect gene",
        ("is damaged", "again, or restore a copy"),
        cut("gene/learngene.safetensors", 0.5),
    ),
    Fault(
        "gene-bit", INHERIT, ("is damaged", "Hash", "germline condense again"), flip("gene/learngene.safetensors", 0.9)
    ),
    Fault("gene-bit-header", INHERIT, ("learngene.safetensors", "again"), flip("gene/learngene.safetensors", 0.003)),
    Fault("gene-pickle", INHERIT, ("is a pickle", "Give a safetensors file"), trap("gene/learngene.safetensors")),
    Fault("gene-format", INHERIT, ("format 99", "pip install --upgrade"), manifest("gene/learngene.json", format=99)),
    Fault("gene-no-format", INHERIT, ("learngene.json", "format"), manifest("gene/learngene.json", format="gone")),
    Fault(
        "gene-not-json", INHERIT, ("gene/learngene.json", "not valid JSON", "again"), cut("gene/learngene.json", 0.7)
    ),
    Fault(
        "gene-json-list", INHERIT, ("gene/learngene.json", "germline condense again"), text("gene/learngene.json", "[]")
    ),
    Fault("gene-no-spec", INHERIT, ("learngene.json", "spec"), manifest("gene/learngene.json", spec="gone")),
    Fault("gene-method", INHERIT, ("learngene.json", "'tlge'"), manifest("gene/learngene.json", method="tlge")),
    Fault("gene-no-manifest", INHERIT, ("learngene.json",), remove("gene/learngene.json")),
    Fault("gene-no-tensors", INHERIT, ("learngene.safetensors",), remove("gene/learngene.safetensors")),
    # Ancestors
    Fault("ancestor-missing", f"{CONDENSE} --ancestor missing --out new", ("No network at 'missing'", "run folder")),
    Fault(
        "role-not-read",
        "condense --method tleg --data digits --data held_out=digits --out new --set distillation=none",
        ("Data for held_out=digits", "method tleg reads train, val"),
    ),
    Fault(
        "ancestor-not-wanted",
        "condense --method gtl --data digits --ancestor ancestor --out new",
        ("An ancestor is given", "method gtl makes its own"),
    ),
    Fault(
        "gtl-classes", "condense --method gtl --set ways=6 --data digits --out new", ("two parts of 6", "fewer ways")
    ),
    Fault("gtl-model", "condense --method gtl --set model=vit_pico --data digits --out new", ("cannot evolve a vit",)),
    Fault("auto-alone", "condense --method auto --data digits --out new", ("needs an ancestor", "--ancestor")),
    Fault(
        "auto-keep",
        "condense --method auto --ancestor ancestor --set keep=40 --data digits --out new",
        ("keep=40", "Set a smaller `keep`"),
    ),
    Fault(
        "auto-layers",
        "condense --method auto --ancestor ancestor --set layers=[0,77] --data digits --out new",
        ("layers=(0, 77)", "Choose indices from 0 to"),
    ),
    Fault(
        "auto-optimizer",
        "condense --method auto --ancestor ancestor --set optimizer=adamw --data digits --out new",
        ("optimizer='adamw'", "plain SGD"),
    ),
    Fault(
        "openworld-ancestor",
        "condense --method openworld --data digits --ancestor ancestor --out new",
        ("An ancestor is given", "method openworld makes its own"),
    ),
    Fault("openworld-ways", "condense --method openworld --set ways=60 --data digits --out new", ("at most 10 ways",)),
    Fault(
        "openworld-model",
        "condense --method openworld --set model=vit_pico --data digits --out new",
        ("cannot grow a vit", "collective_x0125"),
    ),
    Fault(
        "openworld-window",
        "condense --method openworld --set window=2 --data digits --out new",
        ("window=2 does not fit", "one of 9, 10, 11"),
    ),
    Fault(
        "openworld-threshold",
        "condense --method openworld --set criterion=positive --data digits --out new",
        ("criterion='positive'", "epsilon=5e-10"),
    ),
    Fault(
        "stored-gene",
        "condense --method stored --set gene=missing --data digits --out new",
        ("no learngene at 'missing'",),
    ),
    Fault("train-gene", "train --model ancestor --gene missing --data digits --out new", ("missing", "condense")),
    Fault("gtl-life", "condense --method gtl --set life.steps=null --data digits --out new", ("counted in steps",)),
    Fault("role-unknown", f"{CONDENSE} --data heldout=digits --out new", ("--data heldout=digits", "held_out=NAME")),
    Fault("ancestor-none", "condense --method tleg --data digits --out new", ("without an ancestor", "--ancestor")),
    Fault("ancestor-none-finetune", "condense --method finetune --data digits --out new", ("--ancestor",)),
    Fault("scratch-has-no-gene", "condense --method scratch --data digits --out new", ("'scratch' has no gene",)),
    Fault("ancestor-no-config", f"{CONDENSE} --out new", ("ancestor/config.json",), remove("ancestor/config.json")),
    Fault("ancestor-config", f"{CONDENSE} --out new", ("ancestor/config.json",), text("ancestor/config.json", "{}")),
    Fault("ancestor-no-weights", f"{CONDENSE} --out new", ("model.safetensors",), remove("ancestor/model.safetensors")),
    Fault(
        "ancestor-cut", f"{CONDENSE} --out new", ("model.safetensors", "again"), cut("ancestor/model.safetensors", 0.5)
    ),
    Fault("ancestor-pth", f"{CONDENSE} --ancestor w.pth --out new", ("w.pth", "--model"), text("w.pth", "x")),
    Fault("ancestor-pickle", f"{CONDENSE} --ancestor w.pth --model resnet10t --out new", ("w.pth",), trap("w.pth")),
    Fault(
        "ancestor-classes", f"{CONDENSE} --ancestor child --set alpha=0.5 --out new", ("3 classes", "'digits' has 10")
    ),
    Fault("segments", f"{CONDENSE} --set segments=[1,2] --out new", ("segments=(1, 2)", "depth=2", "Give the blocks")),
    Fault("auxiliary-width", f"{CONDENSE} --set width=17 --out new", ("width=17 with heads=2", "width=16")),
    Fault(
        "tleg-in-a-cnn",
        f"{CONDENSE} --ancestor cnn --out new",
        ("method tleg cannot condense in a vgg", "--set model=vit_pico"),
    ),
    Fault(
        "image-size-of-a-gene",
        "evaluate gene --data digits --image-size 64",
        ("--image-size with a gene", "Remove --image-size"),
    ),
    Fault(
        "drop-path-of-a-cnn",
        f"{TRAIN} --model vgg11 --out new --set drop_path=0.1",
        ("drop_path=0.1", "Remove drop_path"),
    ),
    Fault(
        "drop-path-of-a-loaded-cnn",
        f"{TRAIN} --model cnn --out new --set drop_path=0.1",
        ("drop_path=0.1", "Remove drop_path"),
    ),
    # Data
    Fault("classes-differ", f"{TRAIN} --model child --out new", ("3 classes", "'digits' has 10", "germline inherit")),
    Fault("folder-missing", f"{NEW} --data folder:missing --out new", ("folder:missing", "folder:/path")),
    Fault(
        "folder-without-its-prefix",
        f"{NEW} --data photos@32 --out new",
        ("'photos@32'. There is a folder of that name", "Use folder:photos@32"),
        write_images,
    ),
    Fault(
        "folder-small",
        f"{NEW} --data folder:two --out new",
        ("None of the 2 images in two", "80/10/10"),
        write_two_images,
    ),
    Fault("data-roles-train", f"{NEW} --data digits,held_out=digits --out new", ("for held_out", "Use --data digits.")),
    Fault("data-roles-inherit", f"{INHERIT} --data digits,stream=digits", ("for stream", "Use --data digits.")),
    Fault("data-roles-evaluate", "evaluate ancestor --data digits,held_out=digits", ("for held_out", "--data digits.")),
    Fault("empty-data", f"{NEW} --data '' --out new", ("Unknown data set ''",)),
    Fault("empty-model", f"{TRAIN} --model '' --out new", ("name of the model is empty", "Give a name")),
    Fault("empty-ancestor", f"{FRONT} --ancestor ''", ("name of the network is empty",)),
    Fault("empty-gene", "inherit '' --out new", ("name of the learngene is empty",)),
    Fault("empty-inspect", "inspect ''", ("name of the learngene is empty",)),
    Fault(
        "train-weights",
        f"{TRAIN} --model w.pth --out new",
        ("'w.pth' is a file", "germline condense --ancestor w.pth"),
        text("w.pth", "x"),
    ),
    Fault("eval-at", f"{NEW} --data digits --set eval_at=[-1] --out new", ("eval_at", "at least 0")),
    Fault("folder-empty", f"{NEW} --data folder:kept --out new", ("No images", "kept"), KEPT),
    Fault(
        "folder-broken-image",
        f"{NEW} --data folder:photos --out new",
        ("train/a/0.png", "Remove the file"),
        write_broken_image,
    ),
    Fault(
        "folder-no-labels", f"{NEW} --data folder:plain --out new", ("'folder:plain' has no labels",), write_unlabelled
    ),
    Fault(
        "labels-wanted",
        f"{CONDENSE.replace('digits', 'folder:plain')} --set alpha=0.5 --out new",
        ("no labels", "alpha=1"),
        write_unlabelled,
    ),
    Fault("cifar-missing", f"{NEW} --data cifar10 --out new", ("cifar10", "cifar10:/folder")),
    Fault("cifar-no-files", f"{NEW} --data cifar100:kept --out new", ("No cifar100 in kept", "unpack"), KEPT),
    Fault(
        "fashion-no-files",
        f"{NEW} --data fashion-mnist:kept --out new",
        ("No fashion-mnist in kept", "torchvision"),
        KEPT,
    ),
    Fault(
        "cifar-fs-missing", f"{NEW} --data cifar-fs/base --out new", ("cifar-fs/base needs", "cifar-fs/base:/folder")
    ),
    Fault("cifar-fs-no-part", f"{NEW} --data cifar-fs:/data --out new", ("without a part", "cifar-fs/base:/folder")),
    Fault("cifar-fs-part", f"{NEW} --data cifar-fs/bse:/data --out new", ("part of cifar-fs 'bse'", "mean base")),
    Fault(
        "cifar-fs-no-files",
        f"{NEW} --data cifar-fs/novel:kept --out new",
        ("No cifar100 in kept", "cifar-fs/novel:/folder"),
        KEPT,
    ),
    Fault(
        "mini-imagenet-missing",
        f"{NEW} --data mini-imagenet/open --out new",
        ("mini-imagenet/open needs", "mini-imagenet/open:/folder"),
    ),
    Fault(
        "mini-imagenet-no-files",
        f"{NEW} --data mini-imagenet/base:kept --out new",
        ("No mini-imagenet/base in kept", "train.csv", "either"),
        KEPT,
    ),
    Fault(
        "mini-imagenet-no-images",
        f"{NEW} --data mini-imagenet/base:mini --out new",
        ("'mini' has no folder 'images'", "Give it that folder"),
        text("mini/train.csv", "filename,label\n"),
    ),
    Fault(
        "mini-imagenet-header",
        f"{NEW} --data mini-imagenet/base:mini --out new",
        ("train.csv begins 'name,class'", "filename,label"),
        both(text("mini/images/a.jpg", "x"), text("mini/train.csv", "name,class\na.jpg,n01532829\n")),
    ),
    Fault(
        "mini-imagenet-class",
        f"{NEW} --data mini-imagenet/novel:photos --out new",
        ("photos/test has a class 'a'", "20 published", "Remove it"),
        write_images,
    ),
    # Settings
    Fault("set-no-equals", f"{TRAIN} --model ancestor --out new --set epochs", ("epochs", "--set epochs=20")),
    Fault("set-no-key", f"{TRAIN} --model ancestor --out new --set =3", ("--set =3", "key=value")),
    Fault("set-unknown", f"{TRAIN} --model ancestor --out new --set epoch=3", ("'epoch'", "Did you mean epochs")),
    Fault("randaugment", f"{TRAIN} --model ancestor --out new --set randaugment=m9", ("'m9'", "rand-m9-mstd0.5-inc1")),
    Fault("erasing", f"{TRAIN} --model ancestor --out new --set erasing=0.2 --set augment=false", ("augment=true",)),
    Fault(
        "no-augmentation",
        "train --device cpu --quiet --model vit_pico --data glyphs/base+digits --set erasing=0.2 --out new",
        ("Remove erasing",),
    ),
    Fault("set-unknown-method", f"{CONDENSE} --out new --set dpeth=3", ("'dpeth'", "Did you mean depth")),
    Fault(
        "set-of-a-group",
        "condense --device cpu --quiet --method pool --data digits --ancestor ancestor --out new --set lr=3",
        ("'lr'", "Did you mean distil.lr or finetune.lr?"),
    ),
    Fault(
        "set-far", f"{TRAIN} --model ancestor --out new --set learning_rate=3", ("'learning_rate'", "Known: ", " lr,")
    ),
    Fault("set-through-value", f"{TRAIN} --model ancestor --out new --set lr=1 --set lr.x=3", ("lr.x=3", "'lr'")),
    Fault("set-not-yaml", f"{TRAIN} --model ancestor --out new --set lr=[1", ("--set lr=[1", "not valid YAML")),
    Fault("epochs-negative", f"{TRAIN} --model ancestor --out new --set epochs=-1", ("epochs=-1", "greater than 0")),
    Fault("steps-negative", f"{TRAIN} --model ancestor --out new --set steps=-1", ("steps=-1", "greater than")),
    Fault("lr-text", f"{TRAIN} --model ancestor --out new --set lr=abc", ("lr='abc'", "number")),
    Fault("lr-nan", f"{TRAIN} --model ancestor --out new --set lr=.nan", ("lr=nan", "finite")),
    Fault("lr-infinite", f"{TRAIN} --model ancestor --out new --set lr=.inf", ("lr=inf", "finite")),
    Fault("lr-empty", f"{TRAIN} --model ancestor --out new --set lr=", ("--set lr=", "no value", "lr=null")),
    Fault("optimizer", f"{TRAIN} --model ancestor --out new --set optimizer=adam", ("optimizer='adam'", "'adamw'")),
    Fault("batch-0", f"{TRAIN} --model ancestor --out new --set batch_size=0", ("batch_size=0", "greater than")),
    Fault("seed-text", f"{TRAIN} --model ancestor --out new --seed x", ("--seed", "integer")),
    Fault("seed-negative", f"{TRAIN} --model ancestor --out new --seed -1", ("'--seed'", " 0")),
    Fault("seed-huge", f"{TRAIN} --model ancestor --out new --seed {2**64}", ("--seed",)),
    Fault("precision", f"{TRAIN} --model ancestor --out new --precision 8", ("Precision '8'", "bf16-mixed")),
    Fault("device", f"{TRAIN} --model ancestor --out new --device tpu", ("Device 'tpu'", "cuda or mps")),
    Fault("device-mps", f"{TRAIN} --model ancestor --out new --device mps", ("Device 'mps'", "--device cpu")),
    Fault("logger", f"{TRAIN} --model ancestor --out new --logger tb", ("--logger tb", "tensorboard")),
    # Recipes
    Fault("recipe-key", "check r.yaml", ("r.yaml", "'arm'", "arms"), recipe(("arms:", "arm:"))),
    Fault("recipe-inner-key", "check r.yaml", ("train.step", "steps"), recipe(("train: {steps", "train: {step"))),
    Fault(
        "recipe-method-key",
        "check r.yaml",
        ("r.yaml: arms.gene.settings", "'stps'", "steps"),
        recipe(("{steps: 2, batch_size: 8}}\n  s", "{stps: 2}}\n  s")),
    ),
    Fault(
        "recipe-missing-key",
        "check r.yaml",
        ("r.yaml", "'title' is missing"),
        recipe(("title: Two arms on digits\n", "")),
    ),
    Fault(
        "recipe-kind",
        "check r.yaml",
        ("r.yaml: kind='fast'", "'quick', 'demonstration' or 'full'"),
        recipe(("quick", "fast")),
    ),
    Fault(
        "recipe-key-twice",
        "check r.yaml",
        ("r.yaml", "'kind' is given twice", "line 4"),
        recipe(("minutes: 1", "kind: full")),
    ),
    Fault("recipe-tab", "check r.yaml", ("r.yaml", "not valid YAML", "line 8"), recipe(("  gene:", "\tgene:"))),
    Fault("recipe-empty", "check r.yaml", ("r.yaml", "a mapping", "germline show"), text("r.yaml", "")),
    Fault("recipe-list", "check r.yaml", ("r.yaml", "a mapping"), text("r.yaml", "- 1\n")),
    Fault("recipe-number-key", "check r.yaml", ("r.yaml",), recipe(("kind:", "3:"))),
    Fault("recipe-no-date", "check r.yaml", ("r.yaml", "not valid YAML"), recipe(("Two arms on digits", "2024-99-99"))),
    Fault("recipe-deep", "check r.yaml", ("r.yaml", "not valid YAML"), text("r.yaml", "[" * 5000)),
    Fault("recipe-object", "check r.yaml", ("r.yaml",), recipe(("quick", "!!python/object/apply:os.getcwd []"))),
    Fault(
        "recipe-binary",
        "check r.yaml",
        ("r.yaml",),
        content("r.yaml", b"\xff\xfe\0"),
    ),
    Fault("recipe-quick-none", "check r.yaml --quick", ("'r.yaml' has no quick version", "without --quick"), recipe()),
    Fault(
        "recipe-quick-value",
        "compare r.yaml --quick --out new",
        ("r.yaml: quick=3", "Use keys"),
        recipe(("minutes: 1", "minutes: 1\nquick: 3")),
    ),
    Fault(
        "recipe-quick-key",
        "check r.yaml --quick",
        ("r.yaml: unknown key 'minute'", "minutes"),
        recipe(("minutes: 1", "minutes: 1\nquick: {minute: 3}")),
    ),
    Fault("recipe-folder", "check gene", ("Unknown recipe 'gene'", "demo")),
    Fault("recipe-set", "check r.yaml --set train.step=3", ("'train.step'", "steps"), recipe()),
    Fault("recipe-set-no-equals", "check r.yaml --set kind", ("--set kind", "key=value"), recipe()),
    Fault(
        "recipe-arm-method",
        "compare r.yaml --out new",
        ("arms.gene.method", "'tlge'", "tleg"),
        recipe(("tleg", "tlge")),
    ),
    Fault(
        "recipe-arm-name",
        "compare r.yaml --out new",
        ("arm 'a/b' is not allowed", "letters", "Choose another name"),
        recipe(("  scratch:", "  a/b:")),
    ),
    Fault(
        "recipe-tuned-as",
        "check r.yaml",
        ("arms.scratch.tuned_as", "'gnee'", "gene"),
        recipe(("method: scratch", "method: scratch, tuned_as: gnee")),
    ),
    Fault(
        "recipe-tuned-as-itself",
        "check r.yaml",
        ("arms.scratch.tuned_as", "Use an arm that is"),
        recipe(("method: scratch", "method: scratch, tuned_as: scratch")),
    ),
    Fault(
        "recipe-tune-seed",
        f"check r.yaml --set '{TUNE}'",
        ("tune.seed=1", "Use a seed that is not in `seeds`"),
        recipe(),
    ),
    Fault("recipe-seed-twice", "check r.yaml", ("seeds", "is given twice"), recipe(("[0, 1]", "[0, 0]"))),
    Fault("recipe-size", "compare r.yaml --out new", ("depth=0", "at least 1"), recipe(("depth=2", "depth=0"))),
    Fault(
        "recipe-size-width",
        "compare r.yaml --out new",
        ("width=32", "Remove width"),
        recipe(("depth=2", "width=32")),
    ),
    Fault("recipe-size-heads", "compare r.yaml --out new", ("width=17 with heads=2",), recipe(("depth=2", "width=17"))),
    Fault(
        "recipe-own-size",
        "compare r.yaml --out new",
        ("Arm 'gene'", "depth=3", "Remove ancestor.path"),
        recipe(("depth=2", "depth=3"), ("tleg, settings: {steps: 2, batch_size: 8}", "finetune")),
    ),
    Fault("recipe-images", "compare r.yaml --out new", ("'digits'", "at most 104 images"), recipe(("[2]", "[2, 500]"))),
    Fault("recipe-images-0", "compare r.yaml --out new", ("images_per_class", "greater than"), recipe(("[2]", "[0]"))),
    Fault(
        "recipe-data",
        "compare r.yaml --out new",
        ("Unknown data set 'digit'",),
        recipe(("data: digits\na", "data: digit\na")),
    ),
    Fault(
        "recipe-ancestor",
        "compare r.yaml --out new",
        ("No network at 'missing'",),
        recipe(("path: ancestor", "path: missing")),
    ),
    # Sections of a recipe
    *(
        Fault(f"recipe-{name}", f"compare r.yaml --out new {_set(*changes)}", says, recipe())
        for name, changes, says in (
            ("protocol", ["protocol=speed"], ("r.yaml: protocol='speed'", "'convergence'")),
            ("grid-empty", ["protocol=sensitivity", "grid={lr: [], weight_decay: [0]}"], ("grid.lr", "at least 2")),
            ("grid-wanted", ["protocol=sensitivity"], ("sensitivity without a grid", "Set grid")),
            ("grid-unasked", [GRID], ("samples with a grid", "Remove `grid`")),
            (
                "grid-and-plateau",
                ["protocol=sensitivity", GRID, "scratch_until_plateau={}"],
                ("scratch_until_plateau with a grid", "Remove grid"),
            ),
            ("tune-empty", ["tune={lr: [], weight_decay: [0], size: depth=2, images_per_class: 2}"], ("tune.lr",)),
            ("budget-0", ["train.steps=0"], ("steps=0", "Set its steps to 1 or more")),
            ("budget-0-of-an-arm", ["arms.gene.train.steps=0"], ("Arm 'gene' has steps=0",)),
            (
                "tune-images",
                [TUNE.replace("class: 2", "class: 500").replace("seed: 1", "seed: 9")],
                ("at most 104 images",),
            ),
            ("size-twice", ["sizes=[depth=4, depth=04]"], ("Sizes 'depth=4' and 'depth=04'", "Remove one of them")),
            (
                "size-of-the-ancestor",
                ["sizes=[depth=2, '']"],
                ("'depth=2' and ''", "same network", "Remove one of them"),
            ),
            ("arm-twice", ["arms.again={method: scratch}"], ("'scratch' and 'again'", "draw: 1")),
            (
                "arm-of-another-width",
                ["arms.gene.settings.width=8", "arms.gene.settings.heads=2"],
                ("Arm 'gene' at depth=2 has width=8, scratch has width=16", "Set width in `sizes`"),
            ),
            (
                "family-size",
                [FAMILY.replace("depth=2", "depth=3")],
                ("family.size=depth=3", "Use a size that 'gene' and 'scratch' both have"),
            ),
            ("family-first", [FAMILY, "arms={scratch: {method: scratch}}"], ("family with 'scratch'", "first")),
            (
                "plateau-of-nothing",
                ["scratch_until_plateau={}", "arms={gene: {method: tleg}}"],
                ("without an arm 'scratch'",),
            ),
            ("no-curve", ["protocol=convergence"], ("eval_at=()", "Set train.eval_every")),
            (
                "no-instincts",
                ["protocol=instincts", "train.eval_at=[0, 1]"],
                ("0, 1, 5, 10, 50, 100", "train.steps=100"),
            ),
            ("one-size", ["protocol=sizes"], ("sizes ['depth=2']", "at least two sizes")),
            # Families without further training
            ("paths-one-size", ["protocol=paths"], ("sizes ['depth=2']", "at least two sizes")),
            (
                "budget-0-without-a-gene",
                [*PATHS, "train.steps=0"],
                ("Arm 'scratch' has steps=0", "passes no head on"),
            ),
            (
                "budget-0-of-other-data",
                [*UNTRAINED, "data=glyphs/novel"],
                ("Arm 'gene' has steps=0", "the classes of digits", "Use data: digits"),
            ),
            (
                "budget-0-tuned",
                [*UNTRAINED, "arms.gene.tuned_as=scratch"],
                ("Arm 'gene' has steps=0", "not tuned", "Remove tuned_as"),
            ),
            (
                "budget-0-of-tasks",
                [*UNTRAINED, "tasks={ways: 3, count: 2}"],
                ("its own classes", "Remove tasks"),
            ),
            (
                "budget-0-of-one-gene",
                [*UNTRAINED, "one_gene=true"],
                ("repeats the same evaluation", "Remove one_gene"),
            ),
            (
                "budget-0-of-other-classes",
                [*UNTRAINED, "data=glyphs/base", "ancestor.data=glyphs/base"],
                ("steps=0 with ancestor.path=ancestor", "knows 10 classes", "Set its steps"),
            ),
            ("arm-sizes", ["arms.gene.sizes=[depth=3]"], ("arms.gene.sizes: 'depth=3'", "spelled as there")),
            ("arm-sizes-empty", ["arms.gene.sizes=[]"], ("arms.gene.sizes", "at least 1")),
            (
                "unused-size",
                ["sizes=[depth=2, depth=3]", "arms.gene.sizes=[depth=2]", "arms.scratch.sizes=[depth=2]"],
                ("No arm uses size 'depth=3'", "add it to an arm"),
            ),
            ("star-and-more", ["sizes=['*', depth=2]"], ("'*' means every size", "Remove '*'")),
            ("star-of-no-list", ["sizes=['*']"], ("sizes=['*']", "'tleg'", "Use the names")),
            ("task-ways", ["tasks={ways: 11, count: 1}"], ("10 classes", "at most 10 ways")),
            ("final-by-hand", ["data=glyphs/final"], ("'glyphs/final' is reserved", "glyphs/novel", "--final")),
        )
    ),
    Fault(
        "recipe-final",
        "compare r.yaml --out new --final",
        ("final with data=digits", "Set final_data", "or remove --final"),
        recipe(),
    ),
    Fault(
        "recipe-extends-itself",
        "compare r.yaml --out new",
        ("'r.yaml' extends itself", "Remove one"),
        text("r.yaml", "extends: r.yaml\ntitle: Mine\n"),
    ),
    Fault(
        "recipe-extends-nothing",
        "compare r.yaml --out new",
        ("Unknown recipe 'lab/tleg-sample'", "lab/tleg-samples"),
        text("r.yaml", "extends: lab/tleg-sample\n"),
    ),
    Fault(
        "train-on-final",
        f"{NEW} --data glyphs/final --out new",
        ("'glyphs/final' is reserved", "glyphs/novel", "--final"),
    ),
    Fault("store-is-a-file", "compare r.yaml --out kept/new --store kept/file", ("kept/file",), both(KEPT, recipe())),
    Fault("workers", "compare r.yaml --out new --workers -1", ("--workers",), recipe()),
    # Outputs
    *(
        Fault(f"{verb}-out-not-empty", f"{words} --out kept", ("'kept' is not empty", "--overwrite"), setup)
        for verb, words, setup in (
            ("train", f"{TRAIN} --model ancestor", KEPT),
            ("condense", CONDENSE, KEPT),
            ("inherit", "inherit gene", KEPT),
            ("compare", "compare r.yaml", both(KEPT, recipe())),
            ("demo", "demo", KEPT),
        )
    ),
    *(
        Fault(f"{verb}-out-is-a-file", f"{words} --out kept/file", ("'kept/file' is a file", "another name"), setup)
        for verb, words, setup in (
            ("train", f"{TRAIN} --model ancestor", KEPT),
            ("condense", CONDENSE, KEPT),
            ("inherit", "inherit gene", KEPT),
            ("demo", "demo", KEPT),
        )
    ),
    Fault(
        "out-under-a-file", f"{TRAIN} --model ancestor --out kept/file/new", ("kept/file/new", "another folder"), KEPT
    ),
    Fault("out-name-too-long", f"{TRAIN} --model ancestor --out {'n' * 300}", ("nnn", "too long")),
    Fault(
        "work-not-empty",
        f"{TRAIN} --model ancestor --out new",
        ("'new.run' is not empty", "--resume"),
        text("new.run/file", "of mine"),
    ),
    Fault(
        "resume-nothing", f"{TRAIN} --model ancestor --out kept --resume", ("'kept'", "no work", "--overwrite"), KEPT
    ),
    Fault("resume-nothing-condense", f"{CONDENSE} --out kept --resume", ("'kept'", "no work", "--overwrite"), KEPT),
    Fault(
        "resume-nothing-compare",
        "compare r.yaml --out kept --resume",
        ("'kept'", "no comparison"),
        both(KEPT, recipe()),
    ),
    Fault("overwrite-here", f"{TRAIN} --model ancestor --out . --overwrite", ("'.' cannot be", "a folder in it")),
    Fault("overwrite-above", "inherit gene --out .. --overwrite", ("'..' cannot be", "a folder in it")),
    Fault("out-root", f"{TRAIN} --model ancestor --out /", ("'/' cannot be", "a folder in it")),
    *(
        Fault(
            f"{verb}-out-cannot-be-made",
            f"{words} --out /proc/germline/new",
            ("/proc/germline/new", "Choose another"),
            setup,
        )
        for verb, words, setup in (
            ("train", f"{TRAIN} --model ancestor", _nothing),
            ("condense", CONDENSE, _nothing),
            ("inherit", "inherit gene", _nothing),
            ("compare", "compare r.yaml", recipe()),
        )
    ),
    # Single files
    Fault("export-format", "export cnn --format onxx --out new.onnx", ("--format onxx", "torch.export or onnx")),
    Fault("export-suffix", "export cnn --format onnx --out new.pt2", ("new.pt2", "ends in .onnx")),
    Fault("export-there-already", "export cnn --out old.pt2", ("'old.pt2' exists", "--overwrite"), text("old.pt2", "")),
    Fault("export-to-a-folder", "export cnn --out child.pt2", ("'child.pt2' is a folder",), text("child.pt2/x", "")),
    Fault("export-no-network", "export missing --out new.pt2", ("No network at 'missing'", "run folder")),
    Fault("export-a-gene", "export gene --out new.pt2", ("'gene' is a learngene", "germline inherit")),
    Fault(
        "export-cannot-be-made", "export cnn --out /proc/germline/new.pt2", ("/proc/germline/new.pt2", "another folder")
    ),
    # Artefacts of another kind
    Fault(
        "inherit-a-network", "inherit ancestor --out new", ("'ancestor' is a network", "condense --ancestor ancestor")
    ),
    Fault("train-a-gene", "train --model gene --data digits --out new", ("'gene' is a learngene", "germline inherit")),
    Fault("condense-a-gene", f"{CONDENSE} --ancestor gene --out new", ("'gene' is a learngene", "germline inherit")),
    Fault("size-twice", "inherit gene --size depth=3 --size depth=4 --out new", ("A descendant has one size",)),
    # Recipes from other systems
    Fault("recipe-utf16", "check r.yaml", ("r.yaml", "UTF-8"), content("r.yaml", RECIPE.encode("utf-16"))),
    Fault(
        "recipe-latin",
        "check r.yaml",
        ("UTF-8",),
        content("r.yaml", RECIPE.replace("Two", "Zw\xf6lf").encode("latin1")),
    ),
    Fault("recipe-tab-at-end", "check r.yaml", ("line 10",), recipe(("sizes: [depth=2]", "sizes: [depth=2]\t# all"))),
    Fault("recipe-seed-negative", "check r.yaml", ("seeds.0=-1", "at least 0"), recipe(("[0, 1]", "[-1]"))),
    Fault("recipe-no-sizes", "check r.yaml", ("sizes=[]", "a list with at least 1"), recipe(("[depth=2]", "[]"))),
    Fault(
        "recipe-no-arms",
        "check r.yaml",
        ("arms={}", "a mapping with at least 1 keys"),
        recipe((RECIPE[RECIPE.index("arms:") : RECIPE.index("sizes:")], "arms: {}\n")),
    ),
    # Image folders
    Fault(
        "folder-one-class", f"{NEW} --data folder:photos --set steps=1 --out new", ("at least two",), write_one_class
    ),
    Fault(
        "folder-truncated",
        f"{NEW} --data folder:photos --set steps=1 --out new",
        ("train/a/0.jpg",),
        write_truncated_image,
    ),
    Fault("folder-no-such-size", f"{NEW} --data folder:photos@0 --out new", ("photos@0", "1 to 1024"), write_images),
    # A failed --overwrite removes nothing
    Fault(
        "overwrite-classes",
        f"{TRAIN} --model child --out kept --overwrite",
        ("3 classes",),
        both(KEPT, text("kept.run/file", "x")),
    ),
    Fault(
        "overwrite-logger",
        f"{TRAIN} --model ancestor --out kept --overwrite --logger x",
        ("--logger x",),
        both(KEPT, text("kept.run/file", "x")),
    ),
    Fault(
        "overwrite-compare",
        "compare r.yaml --out kept --overwrite",
        ("at most 104",),
        both(KEPT, recipe(("[2]", "[500]"))),
    ),
    # Reports
    Fault("report-missing", "report missing", ("no results in 'missing'", "no such file or folder", "--resume")),
    Fault("report-unfinished", "report kept", ("no results in 'kept'", "has not ended", "--resume"), KEPT),
    Fault("report-not-results", "report kept", ("kept/results.json", "--resume"), text("kept/results.json", "[]")),
    Fault("report-not-json", "report kept", ("kept/results.json", "not valid JSON"), text("kept/results.json", "{")),
    Fault(
        "report-gene-paths",
        "report gene",
        ("'paths' of gene 'gene'", "germline condense"),
        save_path_record({"paths": []}),
    ),
    Fault("inspect-gene-paths", "inspect gene", ("'paths' of this gene", "germline condense"), save_path_record([])),
    Fault("report-gene-without-record", "report gene", ("'gene' has nothing to show", "gene_tree", "germline inspect")),
    Fault(
        "report-gene-there-already",
        "report gene --out old.html",
        ("'old.html' exists already", "--overwrite"),
        text("old.html", ""),
    ),
    Fault("report-out-of-a-comparison", "report child --out new.html", ("--out new.html", "'child' is not a gene")),
]
