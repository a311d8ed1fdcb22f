"""`check PATH`: report which graphs and engines are current and load here. It finishes an interrupted deployment."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from cosybuild.cli.arguments import Parser
from cosybuild.cli.printed import say
from cosybuild.deploy.inspect import CURRENT, FOREIGN, Finding, inspect, states_below
from cosybuild.deploy.signed import SignatureCheck
from cosybuild.deploy.transaction import recover
from cosybuild.errors import ConfigurationError, DeployError, MissingRequirement, VerificationError
from cosybuild.printable import one_line
from cosybuild.run.deliver import ARTIFACTS
from cosybuild.run.run_names import LAST, REPORT, RUNS, find_run
from cosybuild.signing import key_fingerprint
from cosybuild.system.environment import Environment

_ENDS = (
    f"exit code: 0 all files are current; {VerificationError.exit_code} a file is stale or damaged; "
    f"{DeployError.exit_code} a file is foreign, or there are no files; "
    f"{MissingRequirement.exit_code} an engine does not load here"
)


def main(arguments: list[str]) -> int:
    """Print the state of each file in one line, or all of them as JSON, and return the exit code.

    Raises:
        ConfigurationError: nothing exists at the path, or the public key cannot be used.
        DeployError: an interrupted deployment cannot be finished, or another process deploys.
    """
    parser = Parser.of_verb("check", __doc__, _ENDS)
    parser.add_argument(
        "path", type=Path, help="an engine, an .onnx file, a model directory in service, the name of a run, or `last`"
    )
    parser.option(
        "--verify-key",
        "PUBKEY",
        "compare every file with the list that the owner of this public key (PEM) signed with deploy.sign",
    )
    parser.switch("--json", "print a JSON list")
    options = parser.parse_args(arguments)
    path: Path = options.path
    if not path.exists():
        path = _artifacts(str(path))
    finished = [root for root in states_below(path) if recover(root)]
    findings = inspect(path, Environment())
    signatures = None
    if options.verify_key is not None:
        key_fingerprint(options.verify_key)
        signatures = SignatureCheck(path, options.verify_key)
        findings = signatures.findings(findings)
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for root in finished:
            say(one_line(f"an interrupted deployment to {root} was finished"))
        for root, signer in (signatures.signers if signatures is not None else {}).items():
            say(one_line(f"{root} is signed with the key {signer}"))
        say("\n".join(map(_line, findings)) or f"{path} has neither graphs nor engines")
    return _exit_code(findings)


def _artifacts(word: str) -> Path:
    """Return the directory with the artifacts of the run named `word`; `last` is the newest run.

    Only a full name is accepted. Otherwise, a misspelt path could match a part of a run's name.
    """
    if word == LAST or (RUNS / word / REPORT).is_file():
        return find_run(word) / ARTIFACTS
    raise ConfigurationError(
        f"{word} does not exist.", hint="Next: give an existing file or model directory, or the full name of a run."
    )


def _line(finding: Finding) -> str:
    loading = f" [{'loads' if finding.loads else 'does not load' if finding.loads is False else 'may load'} here:"
    details = [finding.reason] if finding.reason else []
    tail = f"{loading} {finding.loading}]" if finding.loading else ""
    origin = f"  ({finding.origin})" if finding.origin else ""
    # Names and reasons can come from other people's files. A line feed in one would look like a second finding.
    return one_line(f"{finding.state:>8}  {finding.name}{'  ' + '; '.join(details) if details else ''}{origin}{tail}")


def _exit_code(findings: list[Finding]) -> int:
    states = {finding.state for finding in findings}
    if not states:
        return DeployError.exit_code
    if states - {CURRENT, FOREIGN}:
        return VerificationError.exit_code
    if FOREIGN in states:
        return DeployError.exit_code
    return MissingRequirement.exit_code if any(finding.loads is False for finding in findings) else 0
