"""State of a run between epochs: weights, optimizer slots, epoch, history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """What one epoch of one run measured.

    Attributes:
        epoch: 1 for the first.
        train_loss: mean cross-entropy in nats over the epoch's steps, without the L2 penalty; of an
            autoencoder its denoising error, in nats per pixel.
        train_accuracy: share of right answers in the same steps, 0–1; None of an autoencoder.
        val_loss: the same loss over the validation images after the epoch; None without them.
        val_accuracy: share of right answers on them, 0–1; None without them.
        val_mse, val_psnr: mean squared error per pixel and PSNR in dB of an autoencoder's images.
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_mse: float | None = None
    val_psnr: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RunState:
    """A run after `epoch` epochs; every random number to come follows from (seed, epoch, step).

    Attributes:
        seed: of the run.
        weights: kernel and bias of each layer in turn, as Keras lists them.
        slots: of the optimizer, in the order that `mnist_tune.trainer.optimizers` uses.
        history: metrics of the epochs so far.
    """

    seed: int
    weights: Arrays
    slots: Arrays
    history: tuple[EpochMetrics, ...] = ()

    @property
    def epoch(self) -> int:
        """Epochs trained so far."""
        return len(self.history)


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationMetrics:
    """How a trained run does on images that it was not trained on.

    Attributes:
        seed: of the run.
        loss: mean cross-entropy in nats; of an autoencoder its denoising error, nats per pixel.
        accuracy: share of right answers, 0–1; None of an autoencoder.
        classes: uint8, the predicted class of each image in order; None of an autoencoder.
        mse, psnr: mean squared error per pixel and PSNR in dB of an autoencoder's images.
    """

    seed: int
    loss: float
    accuracy: float | None = None
    classes: NDArray[np.uint8] | None = None
    mse: float | None = None
    psnr: float | None = None
