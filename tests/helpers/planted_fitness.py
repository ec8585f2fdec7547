"""Genes with a planted fitness of known heritability."""

import math
import random
from dataclasses import replace

from germline.methods.gtl.selection import GeneNode

ROOT = GeneNode(
    id=0,
    father=None,
    generation=0,
    similarity=1.0,
    task=0,
    critic_task=0,
    fitness=0.0,
    score=1.0,
    won=False,
    tournament=0,
)


def plant(h2, *, fathers, children, seed, breeding="random", mean=0.0):
    """Make two generations whose fitness is a true value plus noise; the variance of fathers' fitness is 1."""
    draw = random.Random(seed)
    true = [draw.gauss(0, math.sqrt(h2)) for _ in range(fathers)]
    genes = [
        replace(ROOT, id=number, fitness=mean + value + draw.gauss(0, math.sqrt(1 - h2)), tournament=number // 3)
        for number, value in enumerate(true)
    ]
    breeders = range(fathers)
    if breeding == "best":
        breeders = sorted(breeders, key=lambda number: -genes[number].fitness)[: fathers // 3]
    for number in range(fathers, fathers + children):
        father = draw.choice(breeders)
        fitness = mean + true[father] + draw.gauss(0, 0.3) + draw.gauss(0, math.sqrt(1 - h2))
        genes.append(replace(ROOT, id=number, father=father, generation=1, fitness=fitness, tournament=number // 3))
    return genes
