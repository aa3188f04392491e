"""Trains a work with PyTorch: python -m benchmarks.peers.torch_loop WORK FILE [--compile]."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.work import ADAM_LEARNING_RATE, LEARNING_RATE, NOISE, WORKS, Work, load


def main(name: str, file: str, mode: str = "eager") -> None:
    """Train all runs of a work, one after the other, and print their validation results."""
    work = WORKS[name]
    images, labels, test_images, test_labels = (torch.from_numpy(a) for a in load(file))
    if name == "cnn":
        images, test_images = images.view(-1, 1, 28, 28), test_images.view(-1, 1, 28, 28)
    for seed in range(work.seeds):
        torch.manual_seed(seed)
        model = _model(name, work)
        called = torch.compile(model) if mode == "--compile" else model
        if name == "autoencoder":
            optimizer: Any = torch.optim.Adam(model.parameters(), lr=ADAM_LEARNING_RATE)
        else:
            optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        result = 0.0
        for _epoch in range(work.epochs):
            model.train()
            order = torch.randperm(len(images))
            for batch in order.split(work.batch_size):
                optimizer.zero_grad()
                _loss(name, work, model, called, images[batch], labels[batch]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                result = _result(name, called, test_images, test_labels)
        print(f"seed {seed}: {result:.4f}")


def _model(name: str, work: Work) -> nn.Sequential:
    if name == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(3),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )
    layers: list[nn.Module] = []
    before = 784
    for width in work.widths:
        layers += [nn.Linear(before, width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, 784 if name == "autoencoder" else 10))


def _loss(name: str, work: Work, model: Any, called: Any, images: Any, labels: Any) -> Any:
    if name == "autoencoder":
        return functional.binary_cross_entropy_with_logits(called(_noisy(images)), images)
    loss = functional.cross_entropy(called(images), labels)
    if work.l2:
        kernels = [layer.weight for layer in model if isinstance(layer, nn.Linear)][:-1]
        loss = loss + work.l2 * sum(kernel.square().sum() for kernel in kernels)
    return loss


def _result(name: str, called: Any, images: Any, labels: Any) -> float:
    """Share of the test images that are recognised, or the denoising error per pixel."""
    if name == "autoencoder":
        error = functional.binary_cross_entropy_with_logits(called(_noisy(images)), images)
        return float(error)
    hits = sum(
        int((called(batch).argmax(1) == truth).sum())
        for batch, truth in zip(images.split(1000), labels.split(1000), strict=True)
    )
    return hits / len(labels)


def _noisy(images: Any) -> Any:
    draws = torch.rand_like(images)
    return torch.where(draws < NOISE / 2, 0.0, torch.where(draws < NOISE, 1.0, images))


if __name__ == "__main__":
    main(*sys.argv[1:])
