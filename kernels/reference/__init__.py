"""Back-propagation with nothing hidden: the mathematics of this package in plain NumPy.

Read it in this order. `layer` holds the idea, the chain rule for one layer, in four lines of code. `activations` and
`losses` supply the derivatives at its two ends: what bends the output of a layer, and where the gradient starts.
`network` puts layers in a row and runs them forward and backward. `optimizers` turns gradients into steps, and
`dropout` is a small study in doing one thing forward and the same thing backward. `statistics` looks at the numbers
inside. `trainer` comes last and joins all of them in the loop over mini-batches. Each module can be read alone; each
states its shapes at the top.

The compiled kernels compute the same with panels, tiles and fused loops, and are tested against this package.
"""

from kernels.model import EpochResult, Evaluation, LayerStatistics, Model, State, Summary
from kernels.reference.activations import ACTIVATIONS, Activation, get_activation
from kernels.reference.dropout import Dropout, keep_mask, mask_key
from kernels.reference.layer import Layer
from kernels.reference.losses import LOSSES, Loss, get_loss, one_hot, predict, smooth
from kernels.reference.network import Network
from kernels.reference.optimizers import OPTIMIZERS, Optimizer, clip_by_global_norm, get_optimizer
from kernels.reference.statistics import dead_share, describe, histogram
from kernels.reference.trainer import Engine

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "OPTIMIZERS",
    "Activation",
    "Dropout",
    "Engine",
    "EpochResult",
    "Evaluation",
    "Layer",
    "LayerStatistics",
    "Loss",
    "Model",
    "Network",
    "Optimizer",
    "State",
    "Summary",
    "clip_by_global_norm",
    "dead_share",
    "describe",
    "get_activation",
    "get_loss",
    "get_optimizer",
    "histogram",
    "keep_mask",
    "mask_key",
    "one_hot",
    "predict",
    "smooth",
]
