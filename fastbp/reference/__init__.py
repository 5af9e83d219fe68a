"""The slow, obvious twin: training in pure NumPy.

`NumpyNetwork` does what `fastbp.Network` does, with any of its activations, losses and optimizers,
and nothing but NumPy. It serves two readers: someone who wants to see the whole of back-propagation
on a few pages, and someone who wants to know what a compiled kernel gains. For the second one it is
written as a careful NumPy programmer would write it: every large array is allocated once, results
go to ``out=``, updates happen in place, and all products of matrices are BLAS calls.

Imports nothing else of fastbp, so that a process that times it runs NumPy alone.
"""

from fastbp.reference.network import NumpyHistory, NumpyNetwork

__all__ = ["NumpyHistory", "NumpyNetwork"]
