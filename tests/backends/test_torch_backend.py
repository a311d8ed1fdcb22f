from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from cosybuild.backends import torch_backend
from cosybuild.backends.session import InferenceFailed
from cosybuild.backends.torch_backend import array_from_tensor, tensor_from_array


class Two(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a - b, a * b


def test_inputs_are_passed_by_position_in_any_order_of_the_mapping() -> None:
    session = torch_backend.load(Two(), ["left", "right"], ["difference", "product"])
    outputs = session.infer({"right": np.float32([3]), "left": np.float32([5])})
    assert {name: float(values[0]) for name, values in outputs.items()} == {"difference": 2, "product": 15}
    assert session.device.startswith(f"torch {torch.__version__} cpu")


def test_one_output_needs_no_tuple_and_no_gradient_is_kept() -> None:
    session = torch_backend.load(nn.Linear(4, 2), ["x"], ["y"])
    assert session.infer({"x": np.ones((3, 4), np.float32)})["y"].shape == (3, 2)


def test_the_error_for_a_refused_size_is_one_line() -> None:
    session = torch_backend.load(nn.Linear(4, 2), ["x"], ["y"])
    with pytest.raises(InferenceFailed, match="RuntimeError: mat1 and mat2") as caught:
        session.infer({"x": np.ones((3, 5), np.float32)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.bool_])
def test_arrays_are_converted_to_tensors_and_back_unchanged(dtype: type) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    back = array_from_tensor(tensor_from_array(values))
    assert back.dtype == values.dtype
    assert np.array_equal(back, values)
