"""`Request`, which every stage reads: the settings, the model to build, its profiles, and facts of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from cosybuild.config.groups.model import Family
from cosybuild.config.settings import Settings
from cosybuild.models.guesses import default_ranges, is_default
from cosybuild.models.real_inputs import GivenBatch, default_profile
from cosybuild.models.service_lengths import Histogram, read_lengths
from cosybuild.models.shape_profile import FRAMES, Profile, expand_profiles
from cosybuild.models.subject import Subject
from cosybuild.system.environment import Environment


@dataclass(frozen=True)
class Request:
    """One requested build.

    Attributes:
        settings: the settings.
        subject: the model that is built.
        environment: facts of this machine, read once for the whole build. The comparison of requests ignores it.
        parts: for a joint build of several networks, the request for each network by its name, in the order of the
            plan. The joint request itself then has neither inputs nor profiles. Empty for a build of one network.
        given: the user's batches of inputs (`verify.inputs`), which replace generated inputs; empty without this
            setting.
        given_directory: the object that keeps the temporary files of `given` until the build ends; None without such
            files.
    """

    settings: Settings
    subject: Subject
    environment: Environment = field(default_factory=Environment, compare=False)
    parts: Mapping[str, Request] = field(default_factory=dict, hash=False)
    given: tuple[GivenBatch, ...] = field(default=(), hash=False)
    given_directory: object = field(default=None, compare=False, repr=False)

    @property
    def each(self) -> tuple[Request, ...]:
        """The requests of all networks: those in `parts`, or only this request if there are no parts."""
        return tuple(self.parts.values()) or (self,)

    def of(self, part: str) -> Request:
        """Return the request of a part, or this request if the name is empty."""
        return self.parts[part] if part else self

    @property
    def has_default_ranges(self) -> bool:
        """True if the ranges of sizes are guessed from the inputs of the model.

        This is so for a user's module or ONNX file if the user chose no profile.
        """
        of_cosyvoice = self.subject.family not in (Family.module, Family.onnx)
        built_in = self.settings.model.family is not self.subject.family
        return not (of_cosyvoice or built_in or self.parts) and is_default(self.settings.trt_profile)

    @cached_property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles, each with a range for every dynamic axis of the model; empty for a joint request.

        Raises:
            ConfigurationError: a profile does not fit the model.
        """
        if self.parts:
            return ()
        stated, static = self.settings.trt_profile, self.settings.export.static
        if static:
            left = [{axis: sizes for axis, sizes in one.items() if axis not in static} for one in stated.profiles]
            unique = tuple(one for index, one in enumerate(left) if one not in left[:index])
            stated = replace(stated, profiles=unique)
        if self.has_default_ranges and self.given:
            stated = default_profile(self.settings.trt_profile, self.given, self.subject.spec)
        elif self.has_default_ranges:
            declared = any(FRAMES in (tensor.shape or ()) for tensor in self.settings.model.inputs)
            stated = default_ranges(self.settings.trt_profile, self.subject.spec, declared)
        return expand_profiles(stated, self.subject.spec)

    @cached_property
    def served(self) -> Histogram:
        """The histogram of lengths in the file `verify.lengths`: frames -> number of calls; empty without a file.

        The file is read once, so that keys and cases use the same lengths even if the file changes during the build.

        Raises:
            ConfigurationError: the file cannot be read or parsed.
        """
        verify = self.settings.verify
        if verify is None or verify.lengths is None:
            return {}
        return read_lengths(Path(verify.lengths).expanduser(), self.subject.spec.frames_per_second)
