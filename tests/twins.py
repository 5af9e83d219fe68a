"""The twin of each hard kernel: the same algorithm, slow and obvious, in plain NumPy.

``oracle.py`` says what comes out of a product or a step; a twin says how a kernel gets there: what
it cuts, where, and in which order it adds up. It is handed the places of the cuts (`tests.rules`
asks the kernels for them) and knows nothing of vectors, caches and threads. Twins compute in the
dtype of what they get: in float64 they agree with the oracle to rounding (``test_twins.py``), and
where every product is exact they round as the kernels do, to the bit.

Each twin can be read alone. Shapes are those of the oracle: ``weights[l]`` is (n_l, n_{l-1}), rows
are examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tests import oracle

Array = npt.NDArray[Any]

# ------------------------------------------------------------------ products


def product_in_order(a: Array, b: Array) -> Array:
    """A B with the sum over k made one product after the other."""
    total = np.zeros((len(a), b.shape[1]), np.result_type(a, b))
    for p in range(a.shape[1]):
        total += np.outer(a[:, p], b[p])
    return total


def split_k_product(a: Array, b: Array, splits: int, block: int) -> Array:
    """A B, k cut into `splits` stretches of whole blocks, whose products are added up in order."""
    k = a.shape[1]
    blocks = -(-k // block)
    deep = -(-blocks // splits) * block
    total = np.zeros((len(a), b.shape[1]), np.result_type(a, b))
    for start in range(0, k, deep):
        partial = np.zeros_like(total)
        for p in range(start, min(start + deep, k), block):
            stretch = slice(p, min(p + block, start + deep))
            partial += product_in_order(a[:, stretch], b[stretch])
        total += partial
    return total


def packed_rows(block: Array, pitch: int) -> Array:
    """A packed block of A: row i begins at i * pitch."""
    packed = np.zeros(len(block) * pitch, block.dtype)
    for i, row in enumerate(block):
        packed[i * pitch : i * pitch + len(row)] = row
    return packed


def packed_panels(block: Array, width: int, nr: int) -> Array:
    """A packed block of B: panels of `width` columns, in each its rows one after the other.

    A row takes nr places, whatever the width.
    """
    k, columns = block.shape
    packed = np.zeros(-(-columns // width) * k * nr, block.dtype)
    for j in range(0, columns, width):
        panel = packed[j // width * k * nr :]
        for p, row in enumerate(block[:, j : j + width]):
            panel[p * nr : p * nr + len(row)] = row
    return packed


def interleaved_product(
    a: Array, b: Array, *, mr: int, nr: int, width: int, kc: int, strip: int
) -> Array:
    """A B by packed blocks; while a block of A is multiplied, the next one is packed by moves.

    A move copies one row. As many are made after each tile as are its share.
    """
    (m, k), n = a.shape, b.shape[1]
    c = np.zeros((m, n), np.result_type(a, b))
    pitch = min(kc, k)
    corners = [(i, p) for i in range(0, m, strip) for p in range(0, k, kc)]
    i, p = corners[0]
    packed = packed_rows(a[i : i + strip, p : p + kc], pitch)
    for here, then in zip(corners, [*corners[1:], (m, k)], strict=True):
        i, p = here
        rows, deep = min(strip, m - i), min(kc, k - p)
        panels = packed_panels(b[p : p + deep], width, nr)
        moves = [*a[then[0] : then[0] + strip, then[1] : then[1] + kc]]
        packed_next = np.zeros(len(moves) * pitch, a.dtype)
        made = 0
        tiles = [(t, j) for j in range(0, n, width) for t in range(0, rows, mr)]
        for number, (t, j) in enumerate(tiles):
            height, breadth = min(mr, rows - t), min(width, n - j)
            tile = np.zeros((height, breadth), c.dtype)
            for q in range(deep):
                column = packed[t * pitch + q :: pitch][:height]
                begin = (j // width * deep + q) * nr
                tile += np.outer(column, panels[begin : begin + breadth])
            c[i + t : i + t + height, j : j + breadth] += tile
            while made < len(moves) * (number + 1) // len(tiles):
                packed_next[made * pitch : made * pitch + len(moves[made])] = moves[made]
                made += 1
        packed = packed_next
    return c


def thin_outer_sums(large: Array, thin: Array, deep: int) -> Array:
    """L T by columns of L, each times its row of T; k is cut every `deep` elements."""
    k = large.shape[1]
    total = np.zeros((len(large), thin.shape[1]), np.result_type(large, thin))
    for start in range(0, k, deep):
        stretch = slice(start, start + deep)
        total += product_in_order(large[:, stretch], thin[stretch])
    return total


def thin_dots(large: Array, thin: Array, deep: int, lanes: int) -> Array:
    """L T by dot products: every lane adds up its own products, then the lanes by halving."""
    k = large.shape[1]
    total = np.zeros((len(large), thin.shape[1]), np.result_type(large, thin))
    for start in range(0, k, deep):
        sums = np.zeros((lanes, *total.shape), total.dtype)
        for p in range(start, min(start + deep, k)):
            sums[p % lanes] += np.outer(large[:, p], thin[p])
        while len(sums) > 1:
            half = len(sums) // 2
            sums = sums[:half] + sums[half:]
        total += sums[0]
    return total


# ------------------------------------------------------------------ steps


class Training:
    """The parameters while they are trained, each changed in place; loss and accuracy are left out.

    Parameters
    ----------
    weights, biases : sequence of ndarray
        Where training begins. They are copied.
    """

    def __init__(
        self, weights: Any, biases: Any, learning_rate: float, weight_decay: float = 0.0
    ) -> None:
        self.weights = [np.array(weight) for weight in weights]
        self.biases = [np.array(bias) for bias in biases]
        self.rate = learning_rate
        self.keep = 1.0 - learning_rate * weight_decay

    def delta_of_first_layer(self, z: Array, y: Array, batch: int) -> tuple[Array, list[Any]]:
        """From Z of layer 1 to its delta; and the gradients of (W, b) above, layer 2 first.

        ``z`` and ``y`` may be some of the batch's rows.
        """
        A = [oracle.sigmoid(z).astype(z.dtype)]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            A.append(oracle.sigmoid(A[-1] @ weight.T + bias).astype(z.dtype))
        delta = (A[-1] - y) / z.dtype.type(batch)
        above: list[Any] = []
        for weight in self.weights[:0:-1]:
            a = A[-2 - len(above)]
            above.insert(0, (delta.T @ a, delta.sum(axis=0)))
            delta = (delta @ weight) * (a * (1 - a))
        return delta, above

    def update_first_bias(self, slope: Array) -> None:
        self.biases[0] -= self.biases[0].dtype.type(self.rate) * slope

    def update_first_weight(self, slope: Array, columns: slice = slice(None)) -> None:
        weight = self.weights[0]
        part = weight[:, columns]
        part[...] = weight.dtype.type(self.keep) * part - weight.dtype.type(self.rate) * slope

    def update_above(self, slopes: list[Any]) -> None:
        for layer, (weight_slope, bias_slope) in enumerate(slopes, start=1):
            self.weights[layer] *= self.keep
            self.weights[layer] -= self.rate * weight_slope
            self.biases[layer] -= self.rate * bias_slope


def delayed_steps(now: Training, X: Array, y: Array, batch: int, group: int) -> None:
    """One step for each batch of rows, W1 changed once for each `group` of steps.

    Z of a step comes from W1 as it was at the group's beginning, and from the products of the
    step's rows with the rows of the group's earlier steps.
    """
    for start in range(0, len(X), group * batch):
        rows, targets = (part[start : start + group * batch] for part in (X, y))
        z_before = rows @ now.weights[0].T
        gram = rows @ rows.T
        deltas = np.zeros_like(z_before)
        steps = -(-len(rows) // batch)
        step_of = np.arange(len(rows)) // batch
        for t in range(steps):
            mine, earlier = step_of == t, step_of < t
            decayed = now.keep ** (t - 1 - step_of[earlier])
            z = now.keep**t * z_before[mine]
            z -= now.rate * (gram[mine][:, earlier] * decayed) @ deltas[earlier]
            z += now.biases[0]
            deltas[mine], above = now.delta_of_first_layer(z, targets[mine], mine.sum())
            now.update_first_bias(deltas[mine].sum(axis=0))
            now.update_above(above)
        decayed = now.keep ** (steps - 1 - step_of)
        now.weights[0] *= now.keep**steps
        now.weights[0] -= now.rate * (deltas.T * decayed) @ rows


def column_steps(now: Training, X: Array, y: Array, batch: int, chunk: int) -> None:
    """One step for each batch of rows; every chunk of columns has its part of W1 and of dW1.

    Chunks tell each other their parts of Z, which are added up in order; the rest of the network
    is computed from that sum.
    """
    cuts = [slice(j, j + chunk) for j in range(0, X.shape[1], chunk)]
    for start in range(0, len(X), batch):
        rows, targets = (part[start : start + batch] for part in (X, y))
        z = np.zeros((len(rows), len(now.biases[0])), X.dtype) + now.biases[0]
        for cut in cuts:
            z += rows[:, cut] @ now.weights[0][:, cut].T
        delta, above = now.delta_of_first_layer(z, targets, len(rows))
        for cut in cuts:
            now.update_first_weight(product_in_order(delta.T, rows[:, cut]), cut)
        now.update_first_bias(delta.sum(axis=0))
        now.update_above(above)


def shard_steps(now: Training, X: Array, y: Array, batch: int, each: Any) -> None:
    """One step for each batch of rows, cut into shards whose gradients are added up in order.

    ``each`` tells how many rows a shard of so many rows has.
    """
    for start in range(0, len(X), batch):
        size = min(batch, len(X) - start)
        slopes = []
        for first in range(start, start + size, each(size)):
            last = min(first + each(size), start + size)
            rows, targets = X[first:last], y[first:last]
            z = rows @ now.weights[0].T + now.biases[0]
            delta, above = now.delta_of_first_layer(z, targets, size)
            slopes.append([(product_in_order(delta.T, rows), delta.sum(axis=0)), *above])
        total = slopes[0]
        for shard in slopes[1:]:
            total = [(w + dw, b + db) for (w, b), (dw, db) in zip(total, shard, strict=True)]
        now.update_first_weight(total[0][0])
        now.update_first_bias(total[0][1])
        now.update_above(total[1:])
