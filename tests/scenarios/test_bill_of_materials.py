"""The bill of materials of a run follows CycloneDX 1.6 and has the digests of the files."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.scenarios.commands import Place


def bill(place: Place, *words: str) -> dict[str, Any]:
    printed = place.cosybuild("bom", *words).out
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(printed) is None
    found: dict[str, Any] = json.loads(printed)
    return found


def test_it_is_valid_and_names_artifacts_weights_and_libraries(built_place: Place) -> None:
    found = bill(built_place)
    (graph,) = [one for one in found["components"] if one["type"] == "machine-learning-model"]
    (run,) = (built_place.directory / "outputs" / "runs").iterdir()
    content = (run / "artifacts" / graph["name"]).read_bytes()
    assert graph["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    weights = next(one for one in found["components"] if one["bom-ref"] == "weights")
    given = (built_place.directory / "model" / "flow.pt").read_bytes()
    assert weights["hashes"][0]["content"] == hashlib.sha256(given).hexdigest()
    metrics = graph["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    ratios = [float(one["value"]) for one in metrics if one["type"] == "snr_db"]
    assert ratios
    assert min(ratios) > 94
    libraries = {one["name"]: one["purl"] for one in found["components"] if one["type"] == "library"}
    assert libraries["torch"].startswith("pkg:pypi/torch@2.13.0")
    depends = {one["ref"]: one["dependsOn"] for one in found["dependencies"]}
    assert {"weights", libraries["torch"]} <= set(depends[graph["bom-ref"]])


def test_the_same_run_gets_the_same_bill_and_another_run_another_number(used_place: Place) -> None:
    first = bill(used_place)
    assert bill(used_place) == first
    words = ("model_dir=model", "trt=none", "verify=off", "simplify=none", "export.opset=20")
    used_place.cosybuild(*words)
    second = bill(used_place, "last")
    assert second["serialNumber"] != first["serialNumber"]
    (graph,) = [one for one in second["components"] if one["type"] == "machine-learning-model"]
    assert graph["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == []
    assert graph["modelCard"]["considerations"]["technicalLimitations"] == ["The artifact was not verified."]
