"""The training loop, its objectives and its settings."""

from germline.training.device import PrecisionName, check_device, describe_device, find_best_device
from germline.training.evaluate import Score, score_model
from germline.training.feature_distillation import FeatureDistillation
from germline.training.objectives import CrossEntropy, Distillation, Objective
from germline.training.phase_store import FitResult
from germline.training.population import Member
from germline.training.run import Run
from germline.training.settings import TrainSettings

__all__ = [
    "CrossEntropy",
    "Distillation",
    "FeatureDistillation",
    "FitResult",
    "Member",
    "Objective",
    "PrecisionName",
    "Run",
    "Score",
    "TrainSettings",
    "check_device",
    "describe_device",
    "find_best_device",
    "score_model",
]
