"""`select SWEEP`: print the best cell of a sweep and the command that builds it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.cli import units
from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.config.groups.objective import Objective
from cosybuild.config.sweep_naming import SWEEPS
from cosybuild.errors import BuildError, ConfigurationError
from cosybuild.printable import shell
from cosybuild.report.sweep import PLAN
from cosybuild.report.sweep_figures import FIGURES
from cosybuild.report.sweep_table import figure_text
from cosybuild.sweeps.write import read_sweep

_LIMITS: dict[str, Callable[[str], float]] = {
    "error": float,
    "memory": units.size,
    "size": units.size,
    "latency": float,
}
_LIMIT = {False: "at most", True: "at least"}
_UNITS = {"error": "relative, e.g. 1e-2", "memory": "e.g. 200MB", "size": "e.g. 500MB", "latency": "in seconds"}


def main(arguments: Sequence[str]) -> int:
    """Print the command of the cell with the smallest objective among the cells that meet every limit.

    Raises:
        ConfigurationError: there is no such sweep, or a record of it is damaged.
        BuildError: no cell meets the limits.
    """
    parser = Parser.of_verb("select", __doc__)
    parser.add_argument(
        "sweep", metavar="SWEEP", help="a sweep's directory, or the start of a name under outputs/sweeps"
    )
    parser.add_argument(
        "--objective",
        choices=[o.value for o in Objective],
        default="memory",
        help="the figure to minimise (default: memory)",
    )
    for name, kind in _LIMITS.items():
        parser.option(f"--max-{name}", "N", f"the largest allowed {name}, {_UNITS[name]}", kind)
    parser.option("--min-snr-db", "N", "the smallest allowed signal-to-noise ratio", float)
    parser.switch("--json", "print the cell's record as JSON")
    options = parser.parse_args(arguments)
    limits = {name: getattr(options, f"max_{name}") for name in _LIMITS}
    sweep = read_sweep(_directory(options.sweep))
    fitting = [cell for cell in sweep["cells"] if not unmet(cell, options.objective, limits, options.min_snr_db)]
    if not fitting:
        lines = "".join(
            f"\n  {describe_choices(cell)}: {unmet(cell, options.objective, limits, options.min_snr_db)}"
            for cell in sweep["cells"]
        )
        raise BuildError(
            f"No cell of {sweep['name']} meets the limits:{lines}",
            hint="Next: relax the limits, or sweep over more choices.",
        )
    best = min(fitting, key=lambda cell: float(cell["figures"][options.objective]))
    if options.json:
        print(figure.dumps(best, indent=2))
        return 0
    say(f"python -m cosybuild {shell(word for word in best['overrides'] if not word.startswith('sweep='))}")
    figures = [f"{FIGURES[n].title} {figure_text(n, v)}" for n, v in best["figures"].items() if v is not None]
    say(f"# {', '.join(figures)}; the best of {len(fitting)} of {len(sweep['cells'])} cells")
    return 0


def unmet(
    cell: Mapping[str, Any], objective: str, limits: Mapping[str, float | None], least_snr_db: float | None
) -> str:
    """Return the reason why a cell cannot be chosen; an empty text if it can be chosen.

    Args:
        cell: the cell's record in `sweep.json`. A figure that is NaN counts as missing.
        objective: the name of the figure to minimise, which the cell must have.
        limits: the largest allowed value of each figure; None for no limit.
        least_snr_db: the smallest allowed signal-to-noise ratio, in dB; None for no limit.
    """
    figures = cell["figures"]
    if cell["status"] != "ok":
        return str(cell["status"])
    known = {name: value for name, value in figures.items() if value is not None and not math.isnan(value)}
    if objective not in known:
        return f"it has no figure '{objective}'"
    most = {name: limit for name, limit in limits.items() if limit is not None}
    least = {} if least_snr_db is None else {"snr_db": least_snr_db}
    for name, limit in {**most, **least}.items():
        if name not in known:
            return f"it has no figure '{name}', which must be {_LIMIT[name in least]} {figure_text(name, limit)}"
    for name, limit in most.items():
        if known[name] > limit:
            return f"its {name} is {figure_text(name, known[name])}, more than {figure_text(name, limit)}"
    for name, limit in least.items():
        if known[name] < limit:
            return f"its SNR is {figure_text(name, known[name])}, less than {figure_text(name, limit)}"
    return ""


def describe_choices(cell: Mapping[str, Any]) -> str:
    """Return the choices of a cell as one line of `key=value`, or the id of the cell if it has no choices."""
    return " ".join(f"{key}={value}" for key, value in cell["choices"].items()) or str(cell["id"])


def _directory(word: str) -> Path:
    given = Path(word)
    if (given / PLAN).is_file() and (given / "sweep.json").is_file():
        return given
    names = sorted(path.parent.name for path in SWEEPS.glob(f"*/{PLAN}"))
    matching = [name for name in names if name.startswith(word)]
    if len(matching) == 1:
        return SWEEPS / matching[0]
    near = matching or difflib.get_close_matches(word, names, n=3, cutoff=0.3) or names[:3]
    what = f"could be any of {len(matching)} sweeps" if matching else f"is neither a sweep's directory nor in {SWEEPS}"
    raise ConfigurationError(
        f"'{word}' {what}.",
        hint=f"Next: name one of {', '.join(near)}." if near else "Next: python -m cosybuild sweep=matrix",
    )
