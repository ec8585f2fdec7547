"""`germline check` and `schema` on the command line."""

import json

from germline.compare.recipe.json_schema import make_recipe_schema
from helpers.bad_input import RECIPE


def test_check_prints_one_line_per_error(workdir, run):
    text = RECIPE.replace("title:", "titel:").replace("quick", "fast").replace("minutes: 1", "minutes: -1")
    (workdir / "r.yaml").write_text(text)
    done = run("check", "r.yaml")
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("germline: r.yaml: ") for line in lines)


def test_a_recipe_without_kind_and_minutes_is_checked(workdir, run):
    (workdir / "r.yaml").write_text(RECIPE.replace("kind: quick\n", "").replace("minutes: 1\n", ""))
    done = run("check", "r.yaml")
    assert (done.code, done.err) == (0, "")
    assert "expected time" not in done.out


def test_check_prints_the_time_on_devices_of_a_given_speed(run):
    one = run("check", "paper/tleg-imagenet", "--tflops", "100").out.splitlines()[-1]
    assert one == "expected time on one device of 100 TFLOP/s: 23.5 days (genes 39.0 hours, cells 21.8 days)"
    ten = run("check", "paper/tleg-imagenet", "--tflops", "100", "--devices", "10").out.splitlines()[-1]
    # One gene is made on one device.
    assert ten == "expected time on 10 devices of 100 TFLOP/s: 3.8 days (genes 39.0 hours, cells 2.2 days)"
    done = run("check", "paper/tleg-imagenet", "--tflops", "0")
    assert (done.code, done.out) == (2, "")


def test_schema_prints_json(run):
    done = run("schema")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == json.loads(json.dumps(make_recipe_schema()))
