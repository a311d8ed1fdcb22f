"""The package that a serving process imports, for code that loads built artifacts and needs nothing of the build."""

from cosybuild.runtime.estimator import BuiltEstimator
from cosybuild.runtime.load import load_estimator
from cosybuild.runtime.part import BuiltPart, load_part

__all__ = ["BuiltEstimator", "BuiltPart", "load_estimator", "load_part"]
