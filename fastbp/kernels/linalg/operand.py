"""A matrix in memory, as the integers by which compiled code passes it on."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

from llvmlite import ir
from numba import float64, int64
from numba.core import types
from numba.extending import intrinsic

from fastbp.kernels.compile import machine
from fastbp.kernels.compile.jit import jit
from fastbp.kernels.simd.vectors import lanes_of

__all__ = [
    "DTYPE_CODES",
    "FLOAT32",
    "FLOAT64",
    "UINT8",
    "Operand",
    "Product",
    "code_of",
    "from_column",
    "item_bytes",
    "itemsize_of",
    "matrix",
    "tile_constant",
    "transposed",
]

FLOAT32, FLOAT64, UINT8 = 0, 1, 2
DTYPE_CODES = {"float32": FLOAT32, "float64": FLOAT64, "uint8": UINT8}


class Operand(NamedTuple):
    """A matrix in memory, as integers that compiled code can pass on.

    address, and dtype as one of DTYPE_CODES; element (i, j) lies at address[i * row + j * column]
    (strides in elements, of any sign). If row_numbers is not 0 it is the address of int64, and row
    i of the operand is row row_numbers[i] of the matrix. If shift is not 0, shift and scale are the
    addresses of one value for each column, in the type of the product, or float64 for a matrix
    of float64 (`folding.folding_pointer`), and the operand is matrix * scale + shift: (matrix -
    mean) * scale with shift = -mean * scale, one multiply-add. Where elements are of another type
    than the product's, or folded, reader is the address of the region of `reader` that reads them.

    In the transpose of a gathered or folded matrix (see `transposed`) the numbers are those of
    columns, and there is a shift and a scale for each row; only `pack_b` knows how to read that.
    """

    address: int
    dtype: int
    row: int
    column: int
    row_numbers: int
    shift: int
    scale: int
    reader: int


Product = namedtuple(
    "Product", ["c", "ldc", "m", "n", "k", "a", "b", "alpha", "beta", "epilogue", "triangle"]
)
"""C <- epilogue(beta C + alpha A B): a typed pointer to C (m, n), whose rows are contiguous and ldc
elements apart; Operands A (m, k) and B (k, n), which C must not overlap; two numbers of the type of
the product, beta = 0 if C is not to be read; an Epilogue; and the BlockTriangle of C that is
needed: the rest may be computed or undefined."""


@intrinsic
def tile_constant(typingctx: Any, dtype: Any, name: Any) -> Any:
    """``tile_constant(dtype, "kc")``: a field of machine.Tiles, a compile-time constant."""
    if not isinstance(name, types.StringLiteral):
        return None
    value = getattr(machine.tiles(dtype.instance_type.bitwidth // 8), name.literal_value)

    def codegen(ctx: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), value)

    return types.int64(dtype, name), codegen


@jit
def code_of(dtype):
    """The DTYPE_CODES of the type of the product."""
    return int64(FLOAT32) if lanes_of(dtype) > lanes_of(float64) else int64(FLOAT64)


@jit
def itemsize_of(dtype):
    """Bytes of an element of the type of the product."""
    return int64(4) if code_of(dtype) == FLOAT32 else int64(8)


@jit
def matrix(address, row, column, dtype):
    """A matrix in the type of the product as an operand."""
    zero = int64(0)
    return Operand(address, code_of(dtype), row, column, zero, zero, zero, zero)


@jit
def item_bytes(operand):
    """Bytes of one element of the operand."""
    if operand.dtype == UINT8:
        return int64(1)
    return int64(4) if operand.dtype == FLOAT32 else int64(8)


@jit
def from_column(operand, column, dtype):
    """An operand without the columns before one; ``dtype`` is the type of the product."""
    shift, scale = operand.shift, operand.scale
    if shift != 0:
        wide = operand.dtype == FLOAT64 or code_of(dtype) == FLOAT64
        skipped = column * (8 if wide else 4)
        shift, scale = shift + skipped, scale + skipped
    return Operand(
        operand.address + column * operand.column * item_bytes(operand), operand.dtype,
        operand.row, operand.column, operand.row_numbers, shift, scale, operand.reader,
    )  # fmt: skip


@jit
def transposed(operand):
    """The transpose of an operand."""
    return Operand(
        operand.address, operand.dtype, operand.column, operand.row,
        operand.row_numbers, operand.shift, operand.scale, operand.reader,
    )  # fmt: skip
