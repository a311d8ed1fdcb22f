"""`profiles`: propose profiles with little padding for lengths recorded in production; print a `trt_profile` option."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.cli.units import positive
from cosybuild.models.profile_proposal import propose_ranges, yaml_of
from cosybuild.models.service_lengths import read_lengths

_FRAMES_PER_SECOND = 50.0
"""The frame rate of CosyVoice 2 and 3."""


def main(arguments: Sequence[str]) -> int:
    """Print the proposed profiles as YAML and return exit code 0.

    With --compare, first print the padding with 1, 2, ... up to --count profiles to stderr.
    """
    parser = Parser.of_verb("profiles", __doc__)
    parser.add_argument(
        "lengths",
        type=Path,
        help="a text file with `length` or `length,count` on each line; a length is in frames or like `1.5 s`",
    )
    parser.add_argument(
        "--count", type=positive, default=3, help="the largest number of profiles (default: %(default)s)"
    )
    parser.add_argument("--name", default="served", help="the name of the option (default: %(default)s)")
    parser.add_argument("--axis", default="seq_len", help="the dynamic axis (default: %(default)s)")
    parser.add_argument(
        "--frames-per-second",
        type=float,
        default=_FRAMES_PER_SECOND,
        help="the frames per second for durations in the file (default: %(default)s, CosyVoice 2 and 3)",
    )
    parser.switch("--compare", "print the padding for each number of profiles on stderr")
    options = parser.parse_args(arguments)
    histogram = read_lengths(options.lengths, options.frames_per_second)
    if options.compare:
        for count in range(1, options.count + 1):
            proposal = propose_ranges(histogram, count)
            bounds = ", ".join(str(sizes.max) for sizes in proposal.ranges)
            say(f"{count}: padding {proposal.padding:.1%} (up to {bounds})", file=sys.stderr)
    say(yaml_of(propose_ranges(histogram, options.count), options.axis, options.name), end="")
    return 0
