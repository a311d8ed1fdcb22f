"""`model_dir=` as the id of a model on a hub: the real client reads from a hub on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.commands import DATA, QUICK, Place, actions
from tests.scenarios.hub import serving
from tests.scenarios.rebuilding import make_small_model

pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed here")

NAME = "acme/small-cosyvoice"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Start a hub whose model has more files than a build needs."""
    path = make_small_model(tmp_path / "hub")
    (path / "llm.pt").write_bytes(bytes(100))
    (path / "README.md").write_text("# Small\n", encoding="utf-8")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "here").mkdir()
    return Place(tmp_path / "here")


def client(address: str, cache: Path) -> dict[str, str]:
    """Return the environment in which the client uses our hub."""
    return {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}


def test_only_the_two_needed_files_are_fetched_and_only_once(hub: Path, place: Place, tmp_path: Path) -> None:
    words = (f"model_dir={NAME}", *QUICK[1:])
    with serving({NAME: hub}) as (address, fetched):
        environment = client(address, tmp_path / "cache")
        place.cosybuild(*words, env=environment)
        assert sorted(fetched) == ["cosyvoice2.yaml", "flow.pt"]
        fetched.clear()
        again = place.cosybuild(*words, env=environment)
        assert not fetched
        assert "othing to do" in again.out
    # The hub has ended; the downloaded files are used.
    place.cosybuild(*words, "export=opset17", env={**environment, "HF_HUB_OFFLINE": "1"})


def test_another_component_fetches_its_own_weights(place: Place, tmp_path: Path) -> None:
    with serving({NAME: DATA / "token2wav2_tiny"}) as (address, fetched):
        words = (f"model_dir={NAME}", "component=vocoder", "trt=none", "verify=off", "dry_run=true")
        place.cosybuild(*words, env=client(address, tmp_path / "cache"))
        assert sorted(fetched) == ["cosyvoice2.yaml", "hift.pt"]


def test_a_hub_model_and_the_same_directory_are_one_build(hub: Path, place: Place, tmp_path: Path) -> None:
    store = f"store.path={tmp_path / 'store'}"
    with serving({NAME: hub}) as (address, _):
        place.cosybuild(f"model_dir={NAME}", *QUICK[1:], store, env=client(address, tmp_path / "cache"))
    assert set(actions(place.report()).values()) == {"built"}
    elsewhere = Place(tmp_path)
    elsewhere.cosybuild(f"model_dir={hub}", *QUICK[1:], store)
    assert set(actions(elsewhere.report()).values()) == {"hit"}


def test_unknown_names_and_absent_hubs_are_reported(hub: Path, place: Place, tmp_path: Path) -> None:
    with serving({NAME: hub}) as (address, _):
        environment = client(address, tmp_path / "cache")
        unknown = place.cosybuild("model_dir=acme/no-such", *QUICK[1:], code=3, env=environment)
        assert "model_dir=acme/no-such is not a directory on this machine" in unknown.err
        assert "check the name" in unknown.err
    gone = place.cosybuild(f"model_dir={NAME}", *QUICK[1:], code=3, env=environment)
    assert "could not be downloaded from Hugging Face" in gone.err
    assert not place.files()


def test_a_model_that_only_modelscope_has_is_fetched_there(hub: Path, place: Place, tmp_path: Path) -> None:
    pytest.importorskip("modelscope", reason="the extra 'modelscope' is not installed here")
    with serving({}) as (hugging_face, _), serving({NAME: hub}) as (modelscope, fetched):
        environment = {
            **client(hugging_face, tmp_path / "cache"),
            "MODELSCOPE_ENDPOINT": modelscope,
            "MODELSCOPE_CACHE": str(tmp_path / "modelscope"),
        }
        place.cosybuild(f"model_dir={NAME}", *QUICK[1:], env=environment)
        assert sorted(fetched) == ["cosyvoice2.yaml", "flow.pt"]
        unknown = place.cosybuild("model_dir=acme/no-such", *QUICK[1:], code=3, env=environment)
        assert "from Hugging Face: " in unknown.err
        assert "; nor from ModelScope: " in unknown.err


def test_a_model_of_a_modelscope_owner_names_that_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from cosybuild.errors import MissingRequirement, ModelDirectoryError
    from cosybuild.models.directory import hub as client

    monkeypatch.setattr(client, "is_installed", lambda _: False)
    with pytest.raises(MissingRequirement) as missing:
        client.fetch_model("iic/CosyVoice2-0.5B", ["flow.pt"])
    assert missing.value.hint == "Next: pip install 'cosybuild[modelscope]', or give a local directory."
    # Hugging Face's client has no network here, so that its answer is an error of its own.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(client, "is_installed", lambda name: name == "huggingface_hub")
    with pytest.raises(ModelDirectoryError) as gone:
        client.fetch_model("iic/nothing-of-this-name", ["flow.pt"])
    assert "as those of this owner are, pip install 'cosybuild[modelscope]'" in str(gone.value.hint)
