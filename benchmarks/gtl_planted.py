"""Compare the critics' scores of genes with true features and genes of noise, in twenty seeds.

In each seed one network is trained on a task and one is not. The genes at the same channels of both get the same
critics, with three tasks of held-out classes. They are compared by mean accuracy.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from common import keep, set_up
from germline.data import load_data
from germline.methods.gtl.method import GTL
from germline.methods.gtl.population import Mutation
from germline.training import Run

SEEDS = range(20)


def main() -> None:
    """Score both genes in every seed."""
    set_up(__doc__)
    rules, source, found = GTL(rules="published"), load_data("glyphs/base"), []
    for seed in SEEDS:
        lived = rules.build_trainer(source, Run(None, seed=seed, device="cpu", quiet=True))
        unborn = replace(lived, life=lived.life.model_copy(update={"steps": 0}))
        circuit, scores = lived.draw_gene("planted").circuit, {}
        for name, trainer in (("true", lived), ("noise", unborn)):
            network = trainer.train_generation(0, [0], [None], is_evaluated=False)[0][0]
            gene = lived.extract_gene(network, circuit, Mutation(0, 0, 0))
            tasks = list(range(rules.critic_tasks))
            results = lived.judge_genes([gene] * len(tasks), tasks, [f"planted/{task}" for task in tasks])
            scores[name] = fmean(result.accuracy for result in results)
        found.append({"seed": seed, **scores})
        print(f"seed {seed}: true {scores['true']:.3f}, noise {scores['noise']:.3f}", flush=True)
    higher = sum(entry["true"] > entry["noise"] for entry in found)
    print(f"true features score higher in {higher} of {len(found)} seeds")
    keep("gtl_planted", [], higher=higher, seeds=found)


if __name__ == "__main__":
    main()
