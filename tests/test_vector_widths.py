"""The kernels compiled for other vector widths and CPUs than this one's, and run.

LLVM splits vectors that the CPU lacks, so every width runs everywhere. Each case compiles for
itself, in a process and a cache folder of its own.
"""

from __future__ import annotations

import platform
import re

import llvmlite.binding as llvm
import pytest

from fastbp.kernels.compile import machine
from tests.processes import run_python

X86 = platform.machine().lower() in {"x86_64", "amd64"}

# A CPU with AVX2 and no more (x86-64-v3): 16 registers, where those with AVX-512 have 32.
AVX2 = (
    "+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+cx8,+f16c,+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,+sahf,"
    "+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave"
)

CHECKS = """
import numpy as np

import fastbp
from fastbp.engine import method
from fastbp.kernels.linalg import macrokernel
from fastbp.kernels.compile import machine
from fastbp.kernels.narrow.shards import shard_count
from fastbp.kernels.functions.activations import ACTIVATION_CODES, MOST_ULP, STORED_SLOPES
from fastbp.kernels.functions.losses import LOSS_CODES
from tests import oracle, strips
from tests.problems import make_problem
from tests.rules import method_of
from tests.test_linear import assert_update
from tests.test_output_functions import test_losses_and_slopes_follow_the_oracle
from tests.test_matmul import TRANSPOSITIONS, assert_multiplies, around, tiles, widest_chunk
from tests.training import assert_training_follows_the_oracle


def check_matmul(dtype):
    shape = tiles(dtype)
    for transposition in TRANSPOSITIONS:
        for m in around(1, shape.row_step, shape.mr):
            for n in around(1, shape.lanes, shape.nr):
                for k in (1, 5, shape.lanes, shape.lanes + 1):
                    assert_multiplies(m, n, k, dtype, transposition)
        assert_multiplies(shape.nr + 1, shape.nr + 2, shape.kc + 1, dtype, transposition)
        for long in (shape.strip + 1, 2 * shape.strip, 3 * shape.strip + shape.lanes):
            assert_multiplies(long, shape.mr + 3, shape.kc, dtype, transposition)
            assert_multiplies(shape.mr + 3, long, shape.kc, dtype, transposition)
            assert_multiplies(long, shape.lanes + 1, 8 * shape.kc, dtype, transposition)
            assert_multiplies(shape.lanes + 1, long, 8 * shape.kc + 5, dtype, transposition)
        for few in (1, 3, 6):  # thin
            assert_multiplies(few, 5 * shape.lanes + 1, 1030, dtype, transposition)
            assert_multiplies(5 * shape.lanes + 1, few, 1030, dtype, transposition)
        widest = widest_chunk(shape, shape.nr)
        assert_multiplies(widest + 1, widest + 2, 3, dtype, transposition)


def check_sigmoid():
    x = np.linspace(-120, 120, 1001, dtype=np.float32)
    exact = oracle.sigmoid(x)
    ulp = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert (np.abs(fastbp.sigmoid(x) - exact) < 4 * ulp).all()


def check_functions(dtype, fused=True):
    for name in ACTIVATION_CODES:
        x = np.linspace(-14, 14, 1001).astype(dtype)
        exact = oracle.ACTIVATIONS[name].value(x.astype(float))
        # Without fused multiply-add two roundings more, and that of x^2 in gelu's exp(-x^2 / 2);
        # the oracle, in float64, rounds sqrt(2) and x / sqrt(2): in erfc each counts x^2 times.
        more = 0 if fused and dtype == "float32" else 2 + 2 * x * x
        ulp = np.spacing(np.abs(exact).astype(dtype)).astype(float)
        found = strips.values(name, x)
        assert (np.abs(found - exact) <= (MOST_ULP[name] + more) * ulp).all(), name
        if ACTIVATION_CODES[name] not in STORED_SLOPES:
            slope = oracle.ACTIVATIONS[name].slope(x.astype(float))
            assert np.allclose(strips.slopes_from(name, found), slope, rtol=0, atol=1e-5), name
    for loss in LOSS_CODES:
        for count in (1, 5):
            test_losses_and_slopes_follow_the_oracle(loss, dtype, count)


def check_training():
    for rows, outputs, inputs in [(5, 3, 17), (17, 33, 65), (65, 7, 1)]:
        for x_dtype in ("float32", "uint8"):
            assert_update("float32", rows, outputs, inputs, x_dtype=x_dtype)
    check_small_training("float32")
    method._is_small = lambda case: False
    for layer_sizes in [(33, 40, 3, 2), (33, 3, 2, 1)]:  # wide and narrow: two code paths
        problem = make_problem(layer_sizes, 37)
        assert_training_follows_the_oracle(problem, batch_size=16, epochs=3, weight_decay=0.1)
    method.wide_group = lambda *shape: 3
    problem = make_problem((131, 70, 3), 25, data_dtype="uint8", fold="feature")
    assert_training_follows_the_oracle(problem, batch_size=5, epochs=2, weight_decay=0.1)
    check_narrow_training("float32")


def check_small_training(dtype):
    for layer_sizes in [(33, 40, 3, 2), (9, 17, 1), (2, 8, 20)]:
        for batch_size in (17, 40):
            problem = make_problem(layer_sizes, 57, dtype=dtype, data_dtype=dtype, fold="none")
            assert method_of(problem, batch_size) == "small"
            assert_training_follows_the_oracle(problem, batch_size=batch_size, epochs=2)
            found = problem.network().predict_proba(problem.X)
            assert (np.abs(found - problem.forward().A[-1]) <= problem.bounds().A[-1]).all()


def check_narrow_training(dtype):
    for inputs in (65, 1043):  # in shards of rows, and by columns
        for batch_size in (1, 2, 3, 9, 37):
            problem = make_problem(
                (inputs, 5, 1), 40, dtype=dtype, data_dtype="uint8", fold="feature"
            )
            assert_training_follows_the_oracle(problem, batch_size=batch_size, epochs=1)
    found = problem.network().predict_proba(problem.X)
    assert (np.abs(found - problem.forward().A[-1]) <= problem.bounds().A[-1]).all()
"""


def environment(tmp_path, bits=None, cores=None, **cpu):
    """Variables for a process that compiles for `bits` wide vectors, sharing no kernels."""
    variables = {
        "FASTBP_VECTOR_BITS": bits,
        "FASTBP_VECTOR_REGISTERS": None,
        "FASTBP_CORES": cores,
        "NUMBA_CPU_NAME": None,
        "NUMBA_CPU_FEATURES": None,
    }
    return {**variables, **cpu, "NUMBA_CACHE_DIR": str(tmp_path)}


@pytest.mark.parametrize("bits", ["128", "256", "512"])
def test_kernels_at_any_vector_width(bits, tmp_path):
    if int(bits) == machine.VECTOR_BITS:
        pytest.skip("this CPU's own width: what all other tests run at")
    printed = run_python(
        CHECKS + "check_matmul('float32')\ncheck_sigmoid()\ncheck_training()\n"
        "check_functions('float32')\n"
        "print(machine.VECTOR_BITS)",
        **environment(tmp_path, bits),
    )
    assert printed == f"{bits}\n"


@pytest.mark.skipif(machine.VECTOR_BITS == 128, reason="all other tests run at this width")
def test_float64_with_two_lanes(tmp_path):
    run_python(
        CHECKS + "check_matmul('float64')\ncheck_narrow_training('float64')\n"
        "check_small_training('float64')\n"
        "check_functions('float64')",
        **environment(tmp_path, "128"),
    )


@pytest.mark.skipif(not X86, reason="AVX2 belongs to x86")
def test_the_register_tile_of_a_cpu_with_avx2(tmp_path):
    if not llvm.get_host_cpu_features().get("avx2"):
        pytest.skip("this CPU has no AVX2")
    if machine.VECTOR_BITS == 256:
        pytest.skip("this CPU's own width: what all other tests run at")
    printed = run_python(
        CHECKS + "check_matmul('float64')\nprint(machine.VECTOR_BITS, machine.VECTOR_REGISTERS)",
        **environment(tmp_path, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=AVX2),
    )
    assert printed == "256 16\n"


@pytest.mark.skipif(not X86, reason="other CPUs always have fused multiply-add")
def test_without_fused_multiply_add_no_slow_library_function_is_called(tmp_path):
    printed = run_python(
        CHECKS + "check_matmul('float32')\n"
        "check_functions('float32', fused=False)\n"
        "print(machine.VECTOR_BITS)\n"
        "print(macrokernel.regions['float32']._compiled._library.get_asm_str())",
        **environment(tmp_path, NUMBA_CPU_NAME="generic"),
    )
    bits, assembly = printed.split("\n", 1)
    assert bits == "128"
    assert "mulps" in assembly
    assert "fma" not in assembly


def test_what_a_machine_of_many_cores_would_run(tmp_path):
    # More shards, of steps and of products that are cut along k.
    printed = run_python(
        CHECKS
        + """
shape = tiles("float32")
for n in (shape.lanes + 1, 2 * shape.nr):
    assert_multiplies(shape.nr + 5, n, 20 * shape.kc + 3, "float32", TRANSPOSITIONS[0])
for rows in (255, 1151, 2100):
    problem = make_problem((35, 3, 2, 1), rows, data_dtype="uint8", fold="mean")
    assert_training_follows_the_oracle(problem, batch_size=None, epochs=2, weight_decay=0.01)
print(machine.CORES, shape.splits, shard_count(2100, machine.CORES))
""",
        **environment(tmp_path, cores="16"),
    )
    assert printed == "16 16 16\n"


@pytest.mark.skipif(not X86, reason="what is compiled is another CPU's already")
def test_what_an_arm_cpu_would_run(tmp_path):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = "aarch64-unknown-linux-gnu"
    try:
        arm = llvm.Target.from_triple(triple).create_target_machine(opt=2)
    except RuntimeError:
        pytest.skip("this LLVM knows no Arm CPU")
    code = run_python(
        "from fastbp.kernels.linalg import macrokernel\n"
        "print(macrokernel.regions['float32']._compiled._library.get_llvm_str())",
        **environment(tmp_path, "128"),
    )
    code = re.sub("target triple = .*", f'target triple = "{triple}"', code)
    code = re.sub("target datalayout = .*", f'target datalayout = "{arm.target_data}"', code)
    code = re.sub(r"(tail )?call void @llvm\.x86\.sse2\.pause\(\)", "", code)  # only a hint
    assembly = arm.emit_assembly(llvm.parse_assembly(code))
    assert re.search(r"fmla\s+v\d+\.4s", assembly)
    assert not re.search(r"\sbl?\s+fmaf?\s", assembly)


@pytest.mark.parametrize("bits", ["64", "1024", "wide"])
def test_a_width_that_there_is_not(bits):
    printed = run_python(
        "try:\n    from fastbp import Network\nexcept ValueError as error:\n    print(error)",
        FASTBP_VECTOR_BITS=bits,
    )
    assert printed == f"FASTBP_VECTOR_BITS must be 128, 256 or 512, got {bits!r}\n"
