"""The bill of materials of a run in the JSON format of CycloneDX 1.6, which supply-chain tools read.

https://cyclonedx.org/docs/1.6/json/ defines the names of the fields and the permitted values.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from cosybuild.figure import measured
from cosybuild.printable import everywhere
from cosybuild.report.card_facts import figures_of, limits_of, task_of
from cosybuild.report.remarks import checks

_NAMESPACE = uuid.UUID("8d0c1b52-2f1f-5d0e-9a0b-3a3e5f0c6a11")
"""The UUID namespace of serial numbers. A serial number depends only on the run's configuration and artifacts."""

_WEIGHTS = "weights"


def bill_of_materials(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bill of materials of a run as a CycloneDX document.

    It lists the artifacts with digests, figures and limits, the weights, and the libraries that made the artifacts.

    Args:
        report: the content of report.json.
    """
    model, verified = report["model"], checks(report)
    libraries = list(_libraries(report))
    sources = [] if model["random_weights"] or not model["weights_digest"] else [_WEIGHTS]
    references = [library["bom-ref"] for library in libraries]
    artifacts = [_artifact(report, artifact, verified[artifact["path"]]) for artifact in report["artifacts"]]
    digests = [artifact["digest"] for artifact in report["artifacts"]]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, ' '.join([report['config_digest'], *digests]))}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(report["started"], timezone.utc).isoformat(timespec="seconds"),
            "tools": {"components": [_application(report)]},
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": model["name"] or model["family"],
                **({"version": model["weights_digest"][:16]} if model["weights_digest"] else {}),
                "properties": [_property("configuration", report["config_digest"])],
            },
        },
        "components": [*artifacts, *(_weights(model) for _ in sources), *libraries],
        "dependencies": [
            {"ref": "model", "dependsOn": [artifact["bom-ref"] for artifact in artifacts]},
            *({"ref": artifact["bom-ref"], "dependsOn": [*sources, *references]} for artifact in artifacts),
        ],
    }
    found: dict[str, Any] = everywhere(bill)
    return found


def _application(report: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "application", "name": "cosybuild", "version": report["cosybuild"]}


def _artifact(report: Mapping[str, Any], artifact: Mapping[str, Any], check: str) -> dict[str, Any]:
    model = report["model"]
    network = (model.get("parts") or {}).get(artifact["part"]) or model
    further = [name for name in artifact["files"] if name != artifact["name"]]
    task = task_of(report, artifact)
    return {
        "type": "machine-learning-model",
        "bom-ref": artifact["path"],
        "name": artifact["name"],
        "hashes": [{"alg": "SHA-256", "content": artifact["files"].get(artifact["name"], artifact["digest"])}],
        **({"components": [_data_file(name, artifact["files"][name], artifact["path"]) for name in further]}
           if further else {}),
        "modelCard": {
            "modelParameters": {
                **({"task": task} if task else {}),
                "architectureFamily": model["family"],
                "modelArchitecture": artifact["part"] or model["name"] or model["family"],
                "inputs": [{"format": _port(port)} for port in network["inputs"]],
                "outputs": [{"format": _port(port)} for port in network["outputs"]],
            },
            "quantitativeAnalysis": {"performanceMetrics": list(_metrics(report, artifact))},
            "considerations": {"technicalLimitations": list(limits_of(report, artifact, check))},
        },
        "properties": [
            _property("verified", check),
            _property("made_by", artifact["made_by"]),
            _property("byte_reproducible", str(artifact["deterministic"]).lower()),
        ],
    }  # fmt: skip


def _data_file(name: str, digest: str, path: str) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"{path}#{name}",
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def _metrics(report: Mapping[str, Any], artifact: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for figure in figures_of(report, artifact):
        value = measured(figure.values, figure.name)
        if value is not None:
            yield {"type": figure.name, "value": f"{value:.6g}", "slice": figure.of}


def _port(port: Mapping[str, Any]) -> str:
    return f"{port['name']}: {port['dtype']} ({', '.join(map(str, port['shape']))})"


def _weights(model: Mapping[str, Any]) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": model["weights_digest"]}]
    return {"type": "file", "bom-ref": _WEIGHTS, "name": model["weights"], "hashes": hashes}


def _libraries(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, version in report["environment"]["versions"].items():
        if name != "cosybuild":
            locator = f"pkg:pypi/{name}@{quote(version, safe='.-_')}"
            yield {"type": "library", "bom-ref": locator, "name": name, "version": version, "purl": locator}


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"cosybuild:{name}", "value": value}
