"""The signed list of the files in a directory in service.

A signed deployment puts two more files into the directory. The first is the list: name -> sha256 of the files that the
owner of the key has deployed there. The second is the signature of the list.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cosybuild import figure
from cosybuild.deploy.inspect import CURRENT, DAMAGED, FOREIGN, STALE, Finding
from cosybuild.deploy.staging import Put
from cosybuild.digest import digest_of
from cosybuild.directory_in_service import STATE
from cosybuild.errors import ConfigurationError
from cosybuild.filename import is_plain_path
from cosybuild.signing import SIGNATURE, Signed, sign, signature_path, verify, verify_own
from cosybuild.system.json_records import SCHEMA, read_json
from cosybuild.system.typed_json import from_json

LIST = "cosybuild.files.json"
_KIND = "deployed files"


@dataclass(frozen=True)
class _Content:
    """The fields of the list: its kind and schema, and name -> sha256 of each deployed file."""

    schema: int
    kind: str
    files: Mapping[str, str]

    def __post_init__(self) -> None:
        if (self.schema, self.kind) != (SCHEMA, _KIND):
            raise ValueError(f"has kind {self.kind!a}, schema {self.schema}; expected {_KIND!a}, schema {SCHEMA}")
        if out := next((name for name in self.files if not is_plain_path(name)), None):
            raise ValueError(f"names {out!a} in files, which is not a name below the directory")


def signed_list(root: Path, brought: Mapping[str, str], stays: Collection[str], key: Path) -> list[Put]:
    """Return the two files to write: the list and its signature.

    Files of earlier deployments stay on the list if the same key signed them.

    Args:
        root: the directory in service.
        brought: name -> sha256 of the files of this deployment.
        stays: names of earlier deployments' files that stay in the directory.
        key: the path of the private key.

    Raises:
        ConfigurationError: the key cannot be used.
        MissingRequirement: the extra `sign` is not installed.
    """
    signed = _signed_before(root, key)
    files = {name: digest for name, digest in signed.items() if name in stays} | dict(brought)
    text = figure.dumps({"schema": SCHEMA, "kind": _KIND, "files": dict(sorted(files.items()))}, indent=1) + "\n"
    if files == signed:
        # Keep the signature of an unchanged list: a new one would have other bytes and so change the directory.
        return [Put(name, (root / name).read_text(encoding="utf-8")) for name in (LIST, LIST + SIGNATURE)]
    with tempfile.TemporaryDirectory(prefix="cosybuild-sign-") as temporary:
        file = Path(temporary) / LIST
        file.write_text(text, encoding="utf-8")
        sign(file, key)
        return [Put(LIST, text), Put(LIST + SIGNATURE, signature_path(file).read_text(encoding="utf-8"))]


def _signed_before(root: Path, key: Path) -> Mapping[str, str]:
    try:
        return _read_list(root, verify_own(root / LIST, key))
    except ConfigurationError:  # there is no signature, or it is of another key
        return {}


def _read_list(root: Path, signed: Signed) -> Mapping[str, str]:
    """Return name -> sha256 from the list of a directory, whose signature was verified."""
    path = root / LIST
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != signed.sha256:
        raise ConfigurationError(
            f"{path} changed after its signature was verified.", hint="Next: run the same command again."
        )
    try:
        plain = read_json(content)
    except ValueError as error:
        raise ConfigurationError(f"{path} is not a list of files: {error}.", hint="Next: deploy again.") from error
    return from_json(plain, _Content, str(path), "Next: deploy again.").files


class SignatureCheck:
    """The comparison of the files of `check` with the lists that the owner of a public key has signed.

    Attributes:
        signers: directory -> the fingerprint of the key, for each list that was verified.

    Args:
        path: the file or directory that `check` inspects.
        key: the path of the public key.
    """

    def __init__(self, path: Path, key: Path) -> None:
        self._path = path
        self._home = path if path.is_dir() else path.parent
        self._key = key
        self._lists: dict[Path, Mapping[str, str] | str] = {}
        self.signers: dict[Path, str] = {}

    def findings(self, found: list[Finding]) -> list[Finding]:
        """Return the findings of `check`, changed and completed by the comparison with the signed lists.

        A file that is not on a list is foreign. A file that differs from its list is stale, or damaged if it is
        missing.

        Raises:
            ConfigurationError: the key cannot be used.
            MissingRequirement: the extra `sign` is not installed.
        """
        result = [self._against_list(finding) for finding in found]
        named = {finding.name for finding in found}
        if self._path.is_dir():
            result += [each for each in self._others() if each.name not in named]
        return result

    def _against_list(self, finding: Finding) -> Finding:
        if finding.state != CURRENT:
            return finding
        file = self._home / finding.name
        root = next((place for place in file.absolute().parents if (place / LIST).is_file()), None)
        if root is None:
            return replace(finding, state=FOREIGN, reason="its deployment was not signed")
        signed = self._list(root)
        if isinstance(signed, str):
            return replace(finding, state=FOREIGN, reason=signed)
        name = file.absolute().relative_to(root).as_posix()
        state, reason = _difference(root, name, signed)
        return finding if reason is None else replace(finding, state=state, reason=reason)

    def _others(self) -> Iterator[Finding]:
        """Yield a finding for every file in a signed list that differs from the list."""
        for path in sorted(self._path.rglob(LIST)):
            if STATE in path.relative_to(self._path).parts:
                continue
            root = path.parent.absolute()
            signed = self._list(root)
            if isinstance(signed, str):
                continue
            for name in signed:
                state, reason = _difference(root, name, signed)
                if reason is not None:
                    yield Finding((root / name).relative_to(self._path.absolute()).as_posix(), state, reason)

    def _list(self, root: Path) -> Mapping[str, str] | str:
        """Return the verified list of a directory, or the reason why there is none."""
        if root not in self._lists:
            try:
                signed = verify(root / LIST, self._key)
                self._lists[root] = _read_list(root, signed)
                self.signers[root] = signed.key
            except ConfigurationError as error:
                self._lists[root] = error.message
        return self._lists[root]


def _difference(root: Path, name: str, signed: Mapping[str, str]) -> tuple[str, str | None]:
    """Compare a file with its signed list; return the state of the file and the reason, None if they agree."""
    path = root / name
    if name not in signed:
        return FOREIGN, "the owner of the key did not sign it"
    if not path.is_file():
        return DAMAGED, "it was signed and is now missing"
    if digest_of(path) != signed[name]:
        return STALE, "it is not the file that the owner of the key signed"
    return CURRENT, None
