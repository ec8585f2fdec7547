"""Networks whose tensors are computed from the learnable tensors of a gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from germline.architectures import Architecture, Spec, extract_features, on_meta_device


class GeneratedNetwork(nn.Module):
    """Base class of networks whose tensors are functions of a gene.

    The parameters of this module are the gene. The forward pass is that of the architecture's own network, with the
    tensors that `generate` computes. So gradients of the loss reach the gene.

    Attributes:
        frame: Stem, norm and head of the gene, with their names in the whole network.
    """

    def __init__(self, architecture: Architecture[Any], spec: Spec, frame: nn.Module) -> None:
        """Create a network without blocks; subclasses add the parameters of the gene's blocks.

        Args:
            architecture: Architecture of the network.
            spec: Spec of the network whose tensors are generated.
            frame: Stem, norm and head of the gene.
        """
        super().__init__()
        self.frame = frame
        with on_meta_device():
            # The shell provides the forward pass and has no tensors. A tuple hides it from torch.
            self._shell = (architecture.build(spec),)

    def generate(self) -> dict[str, Tensor]:
        """Compute all tensors of the network by their full names."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of normalised images [B, C, H, W]."""
        shell = self._shell[0]
        if shell.training != self.training:
            shell.train(self.training)
        # No architecture shares tensors between layers, so torch need not search for shared ones.
        logits: Tensor = functional_call(shell, self.generate(), (images,), tie_weights=False)
        return logits

    def extract(self, network: Callable[[Tensor], Tensor], pixels: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Call `network`, which calls this one, and return its outputs and the output of a module of the whole network.

        Args:
            network: Function of pixels.
            pixels: Images [B, C, H, W] in [0, 1].
            name: Name of the module.
        """
        outputs, features = extract_features(self._shell[0], (name,), pixels, run=network)
        return outputs, features[name]

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that the frame excludes from weight decay."""
        excluded: set[str] = getattr(self.frame, "no_weight_decay", set)()
        return {f"frame.{name}" for name in excluded}

    def gene_tensors(self) -> dict[str, Tensor]:
        """Return copies of the gene's tensors on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.state_dict().items()}
