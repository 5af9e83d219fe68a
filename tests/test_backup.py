"""Copies of parameters: what they hold, and that arrays keep their places."""

from __future__ import annotations

import numpy as np

from fastbp import Network
from fastbp.backup import Backup


def test_restoring_brings_back_every_parameter_in_place():
    network = Network((4, 3, 2), seed=0)
    arrays = [*network.weights, *network.biases]
    before = [array.copy() for array in arrays]
    backup = Backup([*network.weights, *network.biases])
    for array in arrays:
        array.fill(np.nan)

    backup.restore()

    for array, now, then in zip(arrays, [*network.weights, *network.biases], before, strict=True):
        assert now is array
        np.testing.assert_array_equal(now, then)


def test_restoring_brings_back_what_was_there_at_the_last_refresh():
    network = Network((4, 1), seed=0)
    backup = Backup([*network.weights, *network.biases])
    network.weights[0].fill(3.0)
    backup.refresh()
    network.weights[0].fill(np.inf)

    backup.restore()

    np.testing.assert_array_equal(network.weights[0], np.full((1, 4), 3.0))


def test_a_backup_knows_whose_copy_it_is():
    network, other = Network((4, 1), seed=0), Network((4, 1), seed=0)
    backup = Backup([*network.weights, *network.biases])
    assert backup.is_of([*network.weights, *network.biases])
    assert not backup.is_of([*network.weights, *other.biases])
    assert not backup.is_of(network.weights)
