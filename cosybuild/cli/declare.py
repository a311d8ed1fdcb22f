"""`declare X`: print the declaration of an ONNX file, or of a class of modules, as an option of the group `model`.

An ONNX file states its inputs and outputs. For a class, name it as package.module.Class with its arguments, and give
the shape of each input. cosybuild then calls the module to find the outputs, which runs the code of the class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.guesses import default_ranges
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.models.user_module.declared import declared_spec, file_of_target
from cosybuild.onnxgraph.file_declaration import spec_of_graph
from cosybuild.system.files import write_text

_INPUT = re.compile(r"(?P<name>[^=]+)=\[(?P<shape>[^\]]*)\](:(?P<dtype>\w+))?")


def main(arguments: Sequence[str]) -> int:
    """Print the declaration, or write it to a new file; return exit code 0.

    Raises:
        ConfigurationError: an argument is invalid, or the file to write exists.
        ModelError: the file or the class cannot be declared.
    """
    parser = Parser.of_verb("declare", __doc__)
    parser.add_argument("model", metavar="X", help="an ONNX file, or a class such as torch.nn.LSTM")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="arguments of the class, e.g. width=64")
    parser.repeated("--input", "NAME=[SHAPE][:TYPE]", "an input of a class, e.g. x=[batch,80,frames] or ids=[n]:int64")
    parser.option("--write", "FILE", "write to this file, which must not exist")
    options = parser.parse_args(arguments)
    path = Path(options.model).expanduser()
    if path.is_file():
        if options.arguments or options.input:
            raise ConfigurationError(
                f"{options.model} is a file, which states its own inputs.", hint="Next: name the file alone."
            )
        model = ModelSettings(family=Family.onnx, path=options.model)
        text = _text(model, spec_of_graph(path, model))
    elif "/" in options.model or options.model.endswith(".onnx"):
        raise ConfigurationError(f"{options.model} is not a file.", hint="Next: give an existing ONNX file.")
    else:
        text = _of_class(options.model, options.arguments, options.input)
    if options.write is None:
        say(text.removesuffix("\n"))
        return 0
    if options.write.exists():
        raise ConfigurationError(f"{options.write} exists.", hint="Next: choose another name with --write FILE.")
    write_text(options.write, text)
    say(f"{options.write} is an option of the group model: move it to DIR/model, and build with --config-dir DIR.")
    return 0


def _of_class(name: str, words: Sequence[str], inputs: Sequence[str]) -> str:
    from cosybuild.config.parse import apply_overrides
    from cosybuild.exporting.trial_call import tried_outputs

    plain, _ = apply_overrides({"target": {}}, [f"target.{word}" for word in words])
    target = {"_target_": name, **plain["target"]}
    file_of_target(target)
    if not inputs:
        from cosybuild.exporting.trial_call import parameters_of

        asked = ", ".join(parameters_of(target))
        raise ConfigurationError(
            f"No shapes of inputs were given for {name}, and a class does not state them.",
            hint=f"Next: add --input NAME with its shape for each of {asked}; `python -m cosybuild help declare` shows "
            "an example.",
        )
    declared = tuple(_input(word) for word in inputs)
    # The outputs are not known yet. This placeholder needs a name that no input has.
    unknown = TensorSettings("_".join([*(one.name for one in declared), "output"]), [1])
    model = ModelSettings(family=Family.module, target=target, inputs=declared, outputs=(unknown,))
    spec = declared_spec(model)
    return _text(model, ModelSpec(spec.inputs, tried_outputs(target, spec.inputs)))


def _input(word: str) -> TensorSettings:
    found = _INPUT.fullmatch(word)
    if found is None:
        raise ConfigurationError(
            f"--input {word} is no input; NAME=[SHAPE] or NAME=[SHAPE]:TYPE is expected.",
            hint="Next: `python -m cosybuild help declare` shows an example.",
        )
    axes = [axis.strip() for axis in found["shape"].split(",") if axis.strip()]
    return TensorSettings(found["name"], [int(a) if a.isdigit() else a for a in axes], found["dtype"])


def _text(model: ModelSettings, spec: ModelSpec) -> str:
    """Return the YAML of an option of the group `model`: the source of the model, its inputs and its outputs."""
    source: dict[str, Any] = {"path": model.path} if model.path is not None else {"target": model.target}
    lines = [f"family: {model.family.value}", *(f"{key}: {_flow(value)}" for key, value in source.items())]
    for side, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        lines += [f"{side}:", *(f"  - {_flow(_entry(tensor))}" for tensor in tensors)]
    if spec.symbols:
        stated = ProfileSettings(profiles=({"seq_len": RangeSettings(4, 500, 3000)},))
        (ranges,) = default_ranges(stated, spec, model.path is None).profiles
        plain = {symbol: {"min": one.min, "opt": one.opt, "max": one.max} for symbol, one in ranges.items()}
        lines.insert(0, f"# Sizes without a chosen profile: trt_profile.profiles=[{_flow(plain)}]")
    return "\n".join([f"# {_title(model)}", *lines]) + "\n"


def _title(model: ModelSettings) -> str:
    named = Path(model.path).name if model.path is not None else model.target["_target_"]
    return f"The inputs and outputs of {named}, written by the command declare of cosybuild."


def _entry(tensor: TensorSpec) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.dtype}
    if tensor.generator != "normal":
        entry["generator"] = tensor.generator
    # The range of an index input is part of the interface. Any other range only limits the generated test inputs.
    return {**entry, "high": int(tensor.high)} if tensor.generator == "integer" and tensor.is_index else entry


def _flow(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
