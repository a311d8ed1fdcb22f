"""Make ONNX files of small estimators with skl2onnx: graphs whose operators are those of ai.onnx.ml.

python benchmarks/foreign_graphs.py DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    """Fit each estimator on the same table, and write its graph."""
    data = load_iris()
    table = data.data.astype("float32")
    estimators = {
        "scaler": StandardScaler(),
        "pca": make_pipeline(StandardScaler(), PCA(2)),
        "mlp": MLPRegressor(hidden_layer_sizes=(8,), max_iter=300, random_state=0),
        "forest": RandomForestRegressor(10, random_state=0),
        "boosting": GradientBoostingClassifier(n_estimators=10, random_state=0),
        "kneighbors": KNeighborsRegressor(3),
    }
    for name, estimator in estimators.items():
        estimator.fit(table, data.target)
        # Without zipmap, the probabilities are one tensor.
        options = {"zipmap": False} if name == "boosting" else None
        graph = to_onnx(estimator, table[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
        (Path(sys.argv[1]) / f"{name}.onnx").write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    main()
