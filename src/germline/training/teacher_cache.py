"""Outputs of a teacher for every training image, computed once, saved, and read at each step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from germline.data import AnyImages, Batch, iterate_batches
from germline.errors import ArtefactError
from germline.files import atomic_file, hash_tensor, read_metadata, read_tensors, write_tensors
from germline.learngene import library_versions
from germline.training.objectives import TeacherObjective
from germline.training.progress import Progress

FOLDER = "teacher-outputs"  # within a run's folder
_SEAL = "sha256"


@dataclass(frozen=True)
class TeacherCache:
    """Outputs of a teacher by the position of an image.

    Attributes:
        outputs: Outputs on the CPU [N, ...]; a file of a run's folder is mapped into memory, not read whole.
        device: Device of the training.
    """

    outputs: Tensor
    device: torch.device

    def read(self, batch: Batch) -> Tensor:
        """Return the outputs [B, ...] of a batch's images, on the device."""
        assert batch.indices is not None  # noqa: S101 - the loader of the training set gives them
        rows = self.outputs[batch.indices]
        is_pinned = self.device.type == "cuda"
        return (rows.pin_memory() if is_pinned else rows).to(self.device, non_blocking=is_pinned)


def open_teacher_cache(
    objective: TeacherObjective,
    images: AnyImages,
    size: int,
    fabric: Fabric,
    *,
    precision: str,
    folder: Path | None = None,
    quiet: bool = True,
) -> TeacherCache:
    """Read the outputs of a teacher for unchanged images, or compute and save them.

    The file is named by a hash of all that the outputs depend on: images, weights, preprocessing, kind of outputs,
    precision, device and versions. Another hash in it guards its content: a damaged file is computed again. Processes
    share the work.

    Args:
        objective: Loss with the teacher, which is on the device.
        images: Training images.
        size: Number of images in a forward pass. If a training has as many, outputs equal its own bitwise. With fewer
            than 8, matrix products of a CPU may round differently at another place in the batch.
        fabric: Device and processes.
        precision: Precision of the run.
        folder: Folder of the run; None keeps the outputs in memory alone.
        quiet: Whether no progress is shown.
    """
    key = _hash_inputs(objective, images, size, precision, fabric.device)
    path = None if folder is None else folder / FOLDER / f"{key}.safetensors"
    outputs = None if path is None else _read(path)
    fabric.barrier()  # no process may write before all have looked
    if outputs is None:
        outputs = _compute(objective, images, size, fabric, Progress("teacher", len(images), quiet=quiet))
        if path is not None and fabric.is_global_zero:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as fresh:
                write_tensors(fresh, {"outputs": outputs}, {_SEAL: hash_tensor(outputs)})
        fabric.barrier()
    return TeacherCache(outputs, fabric.device)


def _hash_inputs(
    objective: TeacherObjective, images: AnyImages, size: int, precision: str, device: torch.device
) -> str:
    teacher = objective.teacher
    weights = sorted((name, hash_tensor(tensor)) for name, tensor in teacher.model.state_dict().items())
    facts = (
        *(images.fingerprint(), type(teacher.model).__name__, repr(teacher.spec), repr(teacher.preprocess), weights),
        *(objective.describe_outputs(), size, precision, device.type, torch.get_float32_matmul_precision()),
        sorted(library_versions().items()),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _read(path: Path) -> Tensor | None:
    """Read saved outputs; None if there are none, or if they are damaged."""
    if not path.exists():
        return None
    try:
        outputs, seal = read_tensors(path)["outputs"], read_metadata(path).get(_SEAL)
    except (ArtefactError, KeyError):
        return None
    return outputs if hash_tensor(outputs) == seal else None


def _ask(objective: TeacherObjective, batch: Batch, size: int) -> Tensor:
    """Compute the outputs of a batch, filled up to `size` with empty images.

    Sums in a matrix product may round differently in a smaller batch.
    """
    pixels, count = batch.pixels, len(batch.pixels)
    filled = torch.cat((pixels, pixels.new_zeros(size - count, *pixels.shape[1:])))
    return objective.teacher_outputs(replace(batch, pixels=filled))[:count]


@torch.no_grad()
def _compute(objective: TeacherObjective, images: AnyImages, size: int, fabric: Fabric, progress: Progress) -> Tensor:
    """Compute the outputs of all images; each process takes a part of them, and all get the whole."""
    mine, share = images, -(-len(images) // fabric.world_size)
    if fabric.world_size > 1:
        # Collectives need equal shapes, so the last share is filled up with the last image.
        positions = torch.arange(share) + fabric.global_rank * share
        mine = images.subset(positions.clamp(max=len(images) - 1))
    pieces, done = [], 0
    with progress:
        for batch in iterate_batches(mine, size, fabric.device):
            pieces.append(_ask(objective, batch, size).cpu())
            done += len(pieces[-1])
            progress.update(done, 0.0)
    outputs = torch.cat(pieces)
    if fabric.world_size == 1:
        return outputs
    gathered = torch.as_tensor(fabric.all_gather(outputs.to(fabric.device))).cpu()
    return gathered.flatten(0, 1)[: len(images)]
