"""One step of each optimizer for one parameter, value by value in float64. Slow, obvious; imports no package code."""

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def sgd(weight: Array, gradients: list[Array], rate: float) -> Array:
    for gradient in gradients:
        weight = weight - rate * gradient
    return weight


def adagrad(weight: Array, gradients: list[Array], rate: float, epsilon: float) -> Array:
    total = np.zeros_like(weight)
    for gradient in gradients:
        total = total + gradient**2
        weight = weight - rate * gradient / (np.sqrt(total) + epsilon)
    return weight


def rowwise_adagrad(table: Array, gradients: list[Array], rate: float, epsilon: float) -> Array:
    """Row-wise Adagrad; a gradient of zeros changes nothing, because such a row was not looked up."""
    table = table.copy()
    totals = [0.0] * len(table)
    for gradient in gradients:
        for row, values in enumerate(gradient):
            if any(values):
                totals[row] += sum(value * value for value in values) / len(values)
                for column, value in enumerate(values):
                    table[row, column] -= rate * value / (math.sqrt(totals[row]) + epsilon)
    return table


def adam(
    weight: Array,
    gradients: list[Array],
    rate: float,
    epsilon: float,
    betas: tuple[float, float],
    decay: float,
    layerwise: bool = False,
) -> Array:
    """Adam with decoupled weight decay; ``layerwise``: LAMB."""
    average, squares = np.zeros_like(weight), np.zeros_like(weight)
    for step, gradient in enumerate(gradients, start=1):
        average = betas[0] * average + (1 - betas[0]) * gradient
        squares = betas[1] * squares + (1 - betas[1]) * gradient**2
        mean, square = average / (1 - betas[0] ** step), squares / (1 - betas[1] ** step)
        direction = mean / (np.sqrt(square) + epsilon) + decay * weight
        norms = math.sqrt((weight**2).sum()), math.sqrt((direction**2).sum())
        ratio = norms[0] / norms[1] if layerwise and min(norms) > 0 else 1.0
        weight = weight - rate * ratio * direction
    return weight
