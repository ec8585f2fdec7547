"""Choose the controls' pretraining rate by validation, on as many images as an evolution sees."""

from __future__ import annotations

from common import keep, set_up
from germline.api import build_start_network, train
from germline.compare.recipe.loader import load_recipe
from germline.data import load_data
from germline.training import Run

RATES, SEED = (0.02, 0.05, 0.1, 0.2), 1000


def main() -> None:
    """Train at every rate, with a seed that the comparison does not use."""
    set_up(__doc__)
    wanted, found = load_recipe("lab/gtl-ability").ancestor, {}
    source = load_data(wanted.data)
    for rate in RATES:
        settings = wanted.train.model_copy(update={"lr": rate})
        network = build_start_network(wanted.model, source, settings, SEED)
        result = train(network, source, settings, run=Run(None, seed=SEED, device="cpu"))
        found[str(rate)] = result.accuracy
        print(f"{rate:g}: {result.accuracy:.4f} of the validation images")
    keep("gtl_pretraining_rate", [], recipe="lab/gtl-ability", validation_accuracy=found)


if __name__ == "__main__":
    main()
