"""The known mistakes by network."""

from __future__ import annotations

from collections.abc import Iterator

from cosybuild.certifying.mistakes.estimator import estimator_mistakes
from cosybuild.certifying.mistakes.frontend import front_end_mistakes
from cosybuild.certifying.mistakes.mistake import Mistake
from cosybuild.certifying.mistakes.vocoder import vocoder_mistakes
from cosybuild.config.groups.component import ComponentName
from cosybuild.models.subject import Subject


def mistakes_of(subject: Subject) -> Iterator[Mistake]:
    """Yield the mistakes that a file of this network, version and variant can have."""
    known = {
        ComponentName.estimator: estimator_mistakes,
        ComponentName.frontend: front_end_mistakes,
        ComponentName.vocoder: vocoder_mistakes,
    }
    yield from known[subject.component](subject)
