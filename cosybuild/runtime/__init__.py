"""The loader of built artifacts that a serving process imports. It does not depend on the packages of the build."""

from cosybuild.runtime.estimator import BuiltEstimator
from cosybuild.runtime.load import load_estimator
from cosybuild.runtime.part import BuiltPart, load_part

__all__ = ["BuiltEstimator", "BuiltPart", "load_estimator", "load_part"]
