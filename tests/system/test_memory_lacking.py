"""Errors of each library that mean "out of memory", and errors that do not."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch

from cosybuild.backends.session import InferenceFailed, failed_inference
from cosybuild.building.failures import convert_machine_errors
from cosybuild.building.stage import Emit
from cosybuild.building.subprocess import call_in_subprocess
from cosybuild.errors import ExportError, OutOfMemory, VerificationError
from cosybuild.system.memory import ran_out_of_memory

LACKING = [
    MemoryError(),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    RuntimeError("std::bad_alloc"),
    RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: bad allocation"),
    RuntimeError("[ONNXRuntimeError] : Failed to allocate memory for requested buffer of size 9663676416"),
    RuntimeError("unable to mmap 1300 bytes from file </m/flow.pt>: Cannot allocate memory (12)"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
]
OTHERS = [
    RuntimeError("shape mismatch"),
    OSError(errno.ENOENT, "no such file"),
    ValueError("allocate"),
    ImportError("x.so: failed to map segment from shared object: Operation not permitted"),  # mounted noexec
]


@pytest.mark.parametrize("error", LACKING, ids=repr)
def test_a_lack_of_memory_is_recognised_in_any_wrapping_error(error: Exception) -> None:
    assert ran_out_of_memory(error)
    assert isinstance(failed_inference(error, "one line"), MemoryError)
    for wrapped in (ExportError("torch cannot export"), VerificationError("the artifact cannot compute it")):
        with (
            pytest.raises(OutOfMemory, match="The step 'verify' ran out of memory") as caught,
            convert_machine_errors("verify"),
        ):
            raise wrapped from error
        assert caught.value.exit_code == 4


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert not ran_out_of_memory(error)
    assert isinstance(failed_inference(error, "one line"), InferenceFailed)
    with pytest.raises(type(error)), convert_machine_errors("verify"):
        raise error


def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert not ran_out_of_memory(one)


def test_the_real_errors_of_the_libraries_are_recognised() -> None:
    for take in (lambda: torch.empty(2**50), lambda: np.empty(2**50), lambda: bytearray(2**50)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            take()
        assert ran_out_of_memory(caught.value)


def _take(_emit: Emit) -> None:
    try:
        torch.empty(2**50)
    except RuntimeError as error:
        raise ExportError("the exporter gave up") from error


def test_a_lack_of_memory_in_a_subprocess_is_reported() -> None:
    with pytest.raises(MemoryError, match="the exporter gave up"):
        call_in_subprocess(_take)
