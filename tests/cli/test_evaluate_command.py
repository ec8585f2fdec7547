"""`germline evaluate` and `predict`: numbers equal those of Python, and assumptions are printed."""

import csv
import io
import json
import math
import re

import pytest
import torch
from PIL import Image

import germline as gl
from germline.architectures import Size
from germline.cli.predict import SUFFIXES
from germline.data import Images, load_data
from germline.data.sets.folder_listing import IMAGE_SUFFIXES
from germline.errors import DataError
from germline.learngene import Learngene
from germline.loading import load_network
from germline.training import score_model
from germline.training.class_scores import ClassScores, match_classes, score_classes
from germline.training.evaluate import Score

QUIET = ("--device", "cpu", "--quiet")


def read_numbers(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("split", ["val", "test", "train"])
def test_score_of_a_network_equals_that_of_python(split, workdir, run):
    done = run("evaluate", "ancestor", "--data", "digits", "--split", split, "--json", "e.json", *QUIET)
    assert (done.code, done.err) == (0, "")
    network, images = load_network("ancestor"), load_data("digits").split(split)
    score = score_model(network.model, network.logits, images)
    found = read_numbers(workdir / "e.json")
    assert found["accuracy"] == pytest.approx(score.accuracy, abs=1e-6)
    assert found["loss"] == pytest.approx(score.loss, rel=1e-5)
    assert found["images"] == len(images) == sum(map(sum, found["confusion"]))
    assert f"accuracy {score.accuracy:.4f}, loss {score.loss:.4f}" in done.out
    rows = {row["class"]: row for row in found["per_class"]}
    for index, name in enumerate(images.classes):
        is_class = images.select_classes(images.classes).labels == index
        assert rows[name]["images"] == int(is_class.sum())
        correct = found["confusion"][index][index]
        assert rows[name]["accuracy"] == pytest.approx(correct / int(is_class.sum()))
    assert "note:" not in done.out


def test_python_and_the_command_give_the_same_scores(workdir, run):
    scores = gl.evaluate(load_network("ancestor"), "digits", split="test", device="cpu")
    assert run("evaluate", "ancestor", "--data", "digits", "--split", "test", "--json", "e.json", *QUIET).code == 0
    found = read_numbers(workdir / "e.json")
    assert (scores.accuracy, scores.to_json()["confusion"]) == (found["accuracy"], found["confusion"])


def test_python_trains_and_evaluates_descendants(workdir):
    digits = load_data("digits")
    child = Learngene.load("gene").inherit(Size(depth=2), classes=digits.classes)
    before = {key: tensor.clone() for key, tensor in child.model.state_dict().items()}
    trained = gl.train(child, "digits", gl.TrainSettings(steps=2, batch_size=8), run=gl.Run(device="cpu", quiet=True))
    assert any(not torch.equal(before[key], tensor) for key, tensor in child.model.state_dict().items())
    assert gl.evaluate(child, digits, device="cpu").accuracy == pytest.approx(trained.accuracy)
    with pytest.raises(DataError, match="they differ"):
        gl.evaluate(child, "glyphs/novel")


def test_an_evaluation_moves_a_network_back_and_leaves_it_trainable(pico, make_network, monkeypatch):
    network, moves = make_network(), []
    move = torch.nn.Module.to

    def note(module, *places):
        moves.append((*map(str, places), torch.is_inference_mode_enabled()))
        return move(module, *places)

    monkeypatch.setattr(torch.nn.Module, "to", note)
    assert len(gl.evaluate(network, pico, device="cpu").classes) == 10
    assert moves == [("cpu", False), ("cpu", False)]


def test_conversion_of_images_is_printed(workdir, run):
    done = run("evaluate", "ancestor", "--data", "digits@48", *QUIET)
    assert "note: Images of 1 x 48 x 48 are converted to 1 x 32 x 32." in done.out


def test_gene_is_evaluated_at_a_size(workdir, run):
    done = run("evaluate", "gene", "--data", "digits", "--size", "depth=3", "--json", "e.json", *QUIET)
    assert (done.code, done.err) == (0, "")
    child = Learngene.load("gene").inherit(Size(depth=3))
    score = score_model(child.model, child.network.logits, load_data("digits").val)
    assert read_numbers(workdir / "e.json")["accuracy"] == pytest.approx(score.accuracy, abs=1e-6)
    assert read_numbers(workdir / "e.json")["size"] == "depth=3"
    assert "fresh" not in done.out
    own = run("evaluate", "gene", "--data", "digits", *QUIET)
    assert own.code == 0


def test_fresh_head_is_reported_as_untrained(workdir, run):
    from dataclasses import replace

    gene = Learngene.load("gene")
    head = [name for name in gene.tensors if name.startswith("head")]
    tensors = {name: value for name, value in gene.tensors.items() if name not in head}
    replace(gene, classes=None, tensors=tensors).save(workdir / "headless")
    done = run("evaluate", "headless", "--data", "digits", "--size", "depth=2", *QUIET)
    assert done.code == 0, done
    assert "The head is fresh and untrained" in done.out


def test_classes_are_matched_by_name(workdir, run, monkeypatch):
    network, images = load_network("ancestor"), load_data("digits").val
    reordered = images.select_classes(images.classes[::-1])
    relabelled, note = match_classes(network, reordered, "digits")
    assert "order differs" in note
    assert relabelled.classes == network.classes
    accuracy = score_classes(network, relabelled).score.accuracy
    assert accuracy == pytest.approx(score_classes(network, images).score.accuracy)


def test_weight_file_takes_the_class_names_of_the_data_with_a_note(workdir, run, ancestors):
    from germline.files import write_tensors

    network = ancestors["resnet"]
    write_tensors(workdir / "w.safetensors", network.model.state_dict())
    done = run("evaluate", "w.safetensors", "--model", "resnet", "--data", "digits", "--json", "e.json", *QUIET)
    assert (done.code, done.err) == (0, ""), done
    notes = read_numbers(workdir / "e.json")["notes"]
    assert any("assumed" in note for note in notes)
    given = [f"--{key}={','.join(map(str, getattr(network.preprocess, key)))}" for key in ("mean", "std")]
    words = ("--model", "resnet", "--data", "digits", "--image-size", "32", *given, "--json", "f.json", *QUIET)
    assert run("evaluate", "w.safetensors", *words).code == 0
    score = score_model(network.model, network.logits, load_data("digits").val)
    assert read_numbers(workdir / "f.json")["accuracy"] == pytest.approx(score.accuracy, abs=1e-6)


def build_digits_network():
    from germline.api import build_start_network
    from germline.training import TrainSettings

    return build_start_network("vit_pico", load_data("digits"), TrainSettings(), 0, Size(depth=1))


@pytest.mark.parametrize("classes", [("0", "1"), tuple("0123456789x"), tuple("abcdefghijk")], ids=len)
def test_other_classes_are_refused(classes):
    images = Images(torch.zeros(4, 1, 32, 32, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), classes)
    with pytest.raises(DataError, match="network knows 10 classes"):
        match_classes(build_digits_network(), images, "x")


def test_most_frequent_confusions_of_many_classes_are_printed(workdir, run, capsys):
    from germline.cli.evaluate import _print_scores
    from germline.training import Score
    from germline.training.class_scores import ClassScores

    confusion = torch.eye(20, dtype=torch.int64) * 3
    confusion[2, 7] = 5
    confusion[19] = 0
    _print_scores(ClassScores(Score(0.9, 0.1), tuple(f"c{index}" for index in range(20)), confusion))
    out = capsys.readouterr().out
    assert "c2 taken for c7: 5" in out
    assert "no images" in out


@pytest.fixture
def images(workdir):
    """Folder with six images of digits and two other files, in nested folders."""
    source = load_data("digits").val
    for index in range(6):
        folder = workdir / "images" / ("a" if index % 2 else "b/c")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.images[index, 0].numpy(), "L").save(folder / f"{index}.png")
    (workdir / "images/notes.txt").write_text("x")
    (workdir / "images/.hidden.png").write_text("x")
    return workdir


def read_table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_predicted_labels_equal_those_of_the_network(images, run):
    done = run("predict", "ancestor", "images", "--device", "cpu", "--top", "3")
    assert done.code == 0
    rows = read_table(done.out)
    assert [row["image"] for row in rows] == [
        f"images/{p}.png" for p in ("a/1", "a/3", "a/5", "b/c/0", "b/c/2", "b/c/4")
    ]
    network, source = load_network("ancestor"), load_data("digits").val
    for row in rows:
        index = int(re.search(r"(\d)\.png", row["image"])[1])
        with torch.inference_mode():
            chances = network.logits(source.images[index][None].float() / 255).softmax(dim=1)[0]
        values, places = chances.topk(3)
        assert [row["label"], row["label2"], row["label3"]] == [network.classes[place] for place in places]
        assert float(row["probability"]) == pytest.approx(float(values[0]), abs=1e-4)
    assert "skipped: 1 files that are no images, such as notes.txt" in done.err


def test_predict_writes_a_csv_file(images, run):
    done = run("predict", "ancestor", "images/a/1.png", "images/b/c/0.png", "--out", "p.csv", *QUIET)
    assert (done.code, done.err) == (0, "")
    assert done.out == "p.csv: 2 images, 10 classes\n"
    assert [row["image"] for row in read_table((images / "p.csv").read_text())] == [
        "images/a/1.png",
        "images/b/c/0.png",
    ]
    assert run("predict", "ancestor", "images/a/1.png", "--out", "p.csv", *QUIET).code == 2
    assert run("predict", "ancestor", "images/a/1.png", "--out", "p.csv", "--overwrite", *QUIET).code == 0
    assert len(read_table((images / "p.csv").read_text())) == 1


def test_a_damaged_image_is_named(images, run):
    (images / "images/a/1.png").write_bytes(b"no image")
    done = run("predict", "ancestor", "images", "--out", "p.csv", *QUIET)
    assert done.code == 2
    assert "images/a/1.png cannot be read as an image" in done.err
    assert not (images / "p.csv").exists()
    (images / "images/a/3.png").write_bytes((images / "images/a/3.png").read_bytes()[:60])
    several = run("predict", "ancestor", "images", *QUIET)
    assert "2 files cannot be read as images. They are images/a/1.png, images/a/3.png." in several.err
    done = run("predict", "ancestor", "images", "--skip-damaged", "--out", "p.csv", *QUIET)
    assert done.code == 0
    assert done.err.count("skipped: ") == 2
    assert len(read_table((images / "p.csv").read_text())) == 4


def test_large_colour_images_are_converted_for_the_network(images, run):
    Image.new("RGB", (200, 100), (255, 0, 0)).save(images / "wide.jpg")
    done = run("predict", "ancestor", "wide.jpg", *QUIET)
    assert done.code == 0
    assert read_table(done.out)[0]["label"] in load_network("ancestor").classes


def test_suffixes_are_those_of_image_folders():
    assert SUFFIXES == IMAGE_SUFFIXES


@pytest.mark.parametrize("side", [32, 100])
def test_an_image_of_16_bits_is_scaled(side, images, run):
    import numpy as np

    source = load_data("digits").val.images[0, 0].numpy()
    grey = np.asarray(Image.fromarray(source).resize((side, side)))
    Image.fromarray(grey).save(images / "eight.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(images / "sixteen.png")
    Image.fromarray(grey).convert("P").save(images / "palette.png")
    done = run("predict", "ancestor", "eight.png", "sixteen.png", "palette.png", *QUIET)
    assert done.code == 0, done
    rows = read_table(done.out)
    assert len({row["label"] for row in rows}) == 1
    assert float(rows[1]["probability"]) == pytest.approx(float(rows[0]["probability"]), abs=1e-3)


@pytest.mark.parametrize("loss", [math.inf, math.nan, 1.5])
def test_a_loss_that_is_not_finite_is_null_in_the_file(loss):
    scores = ClassScores(Score(accuracy=0.5, loss=loss), ("a", "b"), torch.tensor([[1, 0], [1, 0]]))
    found = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert found["loss"] == (1.5 if loss == 1.5 else None)
    assert (found["accuracy"], found["images"]) == (0.5, 2)
