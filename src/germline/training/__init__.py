"""The one training loop, and what is plugged into it."""

from germline.training.evaluate import Score, evaluate
from germline.training.objective import CrossEntropy, Distillation, Objective
from germline.training.run import FitResult, Run, check_device
from germline.training.settings import TrainSettings

__all__ = [
    "CrossEntropy",
    "Distillation",
    "FitResult",
    "Objective",
    "Run",
    "Score",
    "TrainSettings",
    "check_device",
    "evaluate",
]
