"""Part on populations of small networks: both engines, and a hand-written stack plain, as CUDA graph and compiled."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from germline.architectures import Preprocess, Spec
from germline.architectures.vgg import VggSpec
from germline.data import Images
from germline.network import Network
from germline.registry import architecture_of, model_spec
from germline.training import Member, Run, TrainSettings
from gpu.bench import rounds
from gpu.plain import PlainBatches
from gpu.record import SEED, Recorder, make_row, measure_in_turn, read_clock

CLASSES, IMAGES, LR, MOMENTUM = 5, 250, 1e-2, 0.9  # a task of five classes with fifty images each
FEW = 2  # steps whose time is subtracted: set-up of a training is not measured
# As small as a network for images of 28 pixels with one channel can be.
SMALLEST = VggSpec(image_size=28, channels=1, classes=CLASSES, widths=((8,), (16,), (32,)))


@dataclass(frozen=True)
class Case:
    """Model, number of members, batch size and steps of a measurement."""

    model: str
    members: int
    batch: int = 32
    steps: int = 20

    @property
    def name(self) -> str:
        return f"{self.model}, {self.members} members, batch {self.batch}"

    @property
    def spec(self) -> Spec:
        if self.model == "smallest":
            return SMALLEST
        return model_spec(self.model, image_size=32, channels=3, classes=CLASSES)


CASES = (Case("vgg11_x025", 8), Case("vgg11_x025", 32, steps=8), Case("smallest", 8), Case("smallest", 32, steps=8))
DRY = (Case("smallest", 2, 8, 2),)


def make_members(case: Case, device: str) -> list[Member]:
    """Build members with random weights and random images."""
    torch.manual_seed(SEED)
    spec, names = case.spec, tuple(str(label) for label in range(CLASSES))
    fields, members = spec.model_dump(), []
    for index in range(case.members):
        pixels = torch.randint(256, (IMAGES, fields["channels"], *[fields["image_size"]] * 2), dtype=torch.uint8)
        images = Images(pixels.to(device), torch.randint(CLASSES, (IMAGES,)).to(device), names)
        network = Network(architecture_of(spec).build(spec), Preprocess.from_images(pixels), names, spec=spec)
        members.append(Member(f"member {index}", network, images, index, None, ("shift",)))
    return members


def engine_side(run: Run, case: Case, members: list[Member], engine: str) -> Callable[[], float]:
    """Return a side with one engine: the seconds of `steps` more steps of all members."""
    copies = [replace(each, network=copy.deepcopy(each.network)) for each in members]

    def call(steps: int) -> float:
        settings = TrainSettings(steps=steps, batch_size=case.batch, optimizer="sgd", lr=LR, warmup=0.0)
        start = read_clock(run.fabric.device)
        run.fit_population("piece", copies, settings, engine=engine)
        return start.until(read_clock(run.fabric.device))

    return lambda: max(1e-9, call(case.steps + FEW) - call(FEW))


class PlainStack:
    """Members as one stack under `vmap`, written by hand: static buffers of inputs, so that a graph can replay it."""

    def __init__(self, members: list[Member], batch: int, device: str, *, compiler: str | None = None) -> None:
        models = [copy.deepcopy(each.network.model).to(device).train() for each in members]
        self._model, self._device = models[0], device
        self._parameters, self._buffers = stack_module_state(models)  # type: ignore[arg-type]
        trained = list(self._parameters.values())
        self._optimizer = _make_sgd(trained, device)
        self._batches = [
            PlainBatches(each.images.images, each.images.labels, batch)  # type: ignore[union-attr, arg-type]
            for each in members
        ]
        statistics = [(each.network.preprocess.mean, each.network.preprocess.std) for each in members]
        self._mean, self._std = (
            torch.tensor([numbers[place] for numbers in statistics], device=device)[:, None, :, None, None]
            for place in (0, 1)
        )
        self._pixels, self._labels = (torch.stack(parts) for parts in self._draw())
        self._losses = vmap(self._loss)
        if compiler is not None:
            self._losses = torch.compile(self._losses, backend=compiler)
        self.make_step: Callable[[], object] = self.compute

    def _draw(self) -> tuple[list[Tensor], list[Tensor]]:
        batches = [each.next() for each in self._batches]
        return [pixels for pixels, _ in batches], [labels for _, labels in batches]

    def _loss(self, parameters: Any, buffers: Any, mean: Tensor, std: Tensor, pixels: Tensor, labels: Tensor) -> Tensor:
        logits = functional_call(self._model, (parameters, buffers), ((pixels - mean) / std,))
        return cross_entropy(logits, labels)

    def compute(self) -> None:
        """Make one step of all members on what the buffers hold."""
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._losses(self._parameters, self._buffers, self._mean, self._std, self._pixels, self._labels)
        losses.sum().backward()
        self._optimizer.step()

    def run(self, steps: int) -> None:
        """Make steps, each with new batches in the buffers."""
        for _ in range(steps):
            pixels, labels = self._draw()
            torch.stack(pixels, out=self._pixels)
            torch.stack(labels, out=self._labels)
            self.make_step()

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps."""
        self.run(FEW)
        start = read_clock(self._device)
        self.run(steps)
        return start.until(read_clock(self._device))

    def capture(self) -> PlainStack:
        """Replace the step by a replay of its CUDA graph."""
        self.make_step = capture_graph(self.compute)
        return self


class PlainMembers:
    """Members trained by hand one after the other, each a stack of one without `vmap`'s cost of choosing."""

    def __init__(self, members: list[Member], batch: int, device: str, *, is_captured: bool = False) -> None:
        self._stacks = [PlainMember([each], batch, device) for each in members]
        if is_captured:
            for stack in self._stacks:
                stack.capture()
        self._device = device

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps of each member."""
        for stack in self._stacks:
            stack.run(FEW)
        start = read_clock(self._device)
        for stack in self._stacks:
            stack.run(steps)
        return start.until(read_clock(self._device))


class PlainMember(PlainStack):
    """One member, without `vmap`."""

    def __init__(self, members: list[Member], batch: int, device: str) -> None:
        super().__init__(members, batch, device)
        self._alone: nn.Module = copy.deepcopy(members[0].network.model).to(device).train()
        self._optimizer = _make_sgd(self._alone.parameters(), device)

    def compute(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        inputs = (self._pixels[0] - self._mean[0]) / self._std[0]
        cross_entropy(self._alone(inputs), self._labels[0]).backward()
        self._optimizer.step()


def _make_sgd(parameters: Iterable[Tensor], device: str) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM, nesterov=True, fused=device == "cuda")


def capture_graph(step: Callable[[], object]) -> Callable[[], object]:
    """Capture a step as a CUDA graph; return its replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure_populations(recorder: Recorder) -> None:
    """Measure member-steps per second of both engines and of hand-written steps; compiled stacks follow at the end."""
    cases = DRY if recorder.is_dry else CASES
    compiled = cases[:1] if recorder.is_dry else (cases[3], cases[0])
    run = Run(seed=SEED, device=recorder.device, tf32=True, quiet=True)
    weights = len(cases) + 3 * len(compiled)  # compiling takes long
    for index, case in enumerate(cases):
        with recorder.case(case.name):
            members = make_members(case, recorder.device)
            sides = {name: engine_side(run, case, members, name) for name in ("loop", "vmap")}
            sides |= _hand_written_sides(recorder, case, members)
            seconds = measure_in_turn(sides, rounds=rounds(recorder), budget_s=recorder.share(weights - index))
            _add(recorder, case.name, case, seconds, "vmap")
    for index, case in enumerate(compiled):
        name = f"{case.name}, compiled"
        with recorder.case(name):
            members, start = make_members(case, recorder.device), time.perf_counter()
            stack = PlainStack(
                members, case.batch, recorder.device, compiler="eager" if recorder.is_dry else "inductor"
            )
            stack.seconds(FEW)
            compiling_s = time.perf_counter() - start
            sides = {
                "vmap": engine_side(run, case, members, "vmap"),
                "compiled vmap": lambda stack=stack, case=case: stack.seconds(case.steps),
            }
            budget_s = recorder.share(2 * (len(compiled) - index))
            seconds = measure_in_turn(sides, rounds=10, budget_s=min(4.0, budget_s), least=2)
            _add(recorder, name, case, seconds, "vmap", compiling_s=round(compiling_s, 2))


def _hand_written_sides(recorder: Recorder, case: Case, members: list[Member]) -> dict[str, Callable[[], float]]:
    """Return hand-written sides; those with graphs only on CUDA. One that fails is recorded and left out."""
    makers: dict[str, Callable[[], Any]] = {
        "plain loop": lambda: PlainMembers(members, case.batch, recorder.device),
        "plain vmap": lambda: PlainStack(members, case.batch, recorder.device),
    }
    if recorder.device == "cuda":
        makers["loop of graphs"] = lambda: PlainMembers(members, case.batch, recorder.device, is_captured=True)
        makers["graph of vmap"] = lambda: PlainStack(members, case.batch, recorder.device).capture()
    sides: dict[str, Callable[[], float]] = {}
    for name, make in makers.items():
        with recorder.case(f"{case.name}, {name}"):
            side = make()
            side.seconds(1)
            sides[name] = lambda side=side: side.seconds(case.steps)
    return sides


def _add(recorder: Recorder, name: str, case: Case, seconds: dict[str, list[float]], ours: str, **facts: Any) -> None:
    peers = [side for side in seconds if side != ours]
    recorder.add(make_row(name, seconds, case.steps * case.members, "member-steps/s", peers, ours=ours, **facts))
