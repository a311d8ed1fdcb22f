"""The package that a serving process imports: built estimators as modules for upstream's solver."""

from cosybuild.runtime.estimator import BuiltEstimator
from cosybuild.runtime.load import load_estimator

__all__ = ["BuiltEstimator", "load_estimator"]
