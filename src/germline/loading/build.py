"""Pieces that all loaders share: build a model of timm, read its preprocessing and its spec."""

from __future__ import annotations

from typing import Any

from torch import nn

from germline.architectures import Preprocess, Spec
from germline.errors import ArtefactError, GermlineError, UnknownNameError
from germline.registry import architecture_of_model


def build_timm_model(name: str, **arguments: Any) -> Any:
    """Build a model of timm, in eval mode.

    Raises:
        ArtefactError: timm cannot build the model, or cannot fetch its weights.
        UnknownNameError: timm has no such model.
    """
    import timm

    import germline.timm  # noqa: F401 - registers germline's own networks

    try:
        model = timm.create_model(name, **arguments)
    except (RuntimeError, AssertionError, ValueError) as error:
        if "Unknown model" not in str(error):
            fix = f"Choose a name from timm.list_pretrained('{name.partition('.')[0]}*')"
            raise ArtefactError(f"timm cannot build '{name}'", str(error).splitlines()[0], fix) from error
        raise UnknownNameError.with_nearest("model", name, timm.list_models()) from error
    except OSError as error:
        fix = "Run the command again when the hub can be reached, or give a file of weights with --model"
        raise ArtefactError(f"weights of '{name}' cannot be fetched", str(error).splitlines()[0], fix) from error
    return model.eval()


def read_preprocess(config: dict[str, Any]) -> Preprocess:
    """Read the preprocessing from timm's `pretrained_cfg`."""
    channels, height, _ = config["input_size"]
    numbers = {"mean": tuple(config["mean"]), "std": tuple(config["std"])}
    return Preprocess.model_validate({"channels": channels, "image_size": height, **numbers})


def describe_network(model: nn.Module, preprocess: Preprocess) -> tuple[Spec | None, str]:
    """Return the spec of a network, or None and the reason why no architecture rebuilds it."""
    try:
        architecture = architecture_of_model(model)
        spec: Spec = architecture.describe(model)
    except GermlineError as error:
        return None, join_reason(error)
    except (AttributeError, IndexError, TypeError, ValueError) as error:  # a network that was altered in any way
        return None, f"{type(error).__name__}: {error}"
    if not architecture.stores_image_size:
        spec = spec.model_copy(update={"image_size": preprocess.image_size})
    return spec, ""


def join_reason(error: GermlineError) -> str:
    """Join what is wrong and why into one clause."""
    return ", ".join(part.strip().rstrip(".") for part in (error.what, error.why) if part)
