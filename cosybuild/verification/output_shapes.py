"""A check that the output shapes that an ONNX file states agree with the shapes that it computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cosybuild.models.dimension import size_of, symbols_of
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.verification.reference import Reference


def misstated_outputs(spec: ModelSpec, reference: Reference) -> Iterator[str]:
    """Yield one sentence for each output whose stated shape contradicts a computed one.

    The sentence gives the correct shape.
    """
    for tensor in spec.outputs:
        shapes = [tuple(map(int, outputs[tensor.name].shape)) for outputs in reference.outputs]
        sizes = [case.draw.sizes for case in reference.cases]
        if len({len(shape) for shape in shapes}) == 1 and any(
            not _agrees(tensor, shape, known) for shape, known in zip(shapes, sizes, strict=True)
        ):
            right = ", ".join(str(_axis(axis, shapes, sizes)) for axis in range(len(shapes[0])))
            yield (
                f"the file states the shape ({', '.join(map(str, tensor.shape))}) of {tensor.name}, but computes "
                f"{shapes[0]}: a server that trusts it refuses the model. "
                f"model.outputs=[{{name: {tensor.name!r}, shape: [{right}]}}] corrects it"
            )


def _agrees(tensor: TensorSpec, shape: tuple[int, ...], sizes: Mapping[str, int]) -> bool:
    if len(shape) != len(tensor.shape):
        return False
    known = [None if set(symbols_of(dim)) - set(sizes) else size_of(dim, sizes) for dim in tensor.shape]
    return all(own is None or own == size for own, size in zip(known, shape, strict=True))


def _axis(axis: int, shapes: Sequence[tuple[int, ...]], sizes: Sequence[Mapping[str, int]]) -> int | str:
    """Describe one axis of an output over all cases: by its symbol, its size or a new name.

    It is the input symbol that has the same size in every case, else the size if that is constant, else a new name.
    """
    found = [shape[axis] for shape in shapes]
    if same := [symbol for symbol in sizes[0] if [one[symbol] for one in sizes] == found]:
        return same[0]
    return found[0] if len(set(found)) == 1 else f"output_axis{axis}"
