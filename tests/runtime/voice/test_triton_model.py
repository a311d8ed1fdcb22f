"""The model of a whole voice for Triton's Python backend, deployed and called through a stand-in for the backend."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosybuild.cli.check import main as check
from cosybuild.config.groups.deploy import DeploySettings, Service, TritonBackend, TritonSettings
from cosybuild.deploy.deploy import deploy
from cosybuild.deploy.rollback import rollback
from cosybuild.errors import ArtifactRefused, ConfigurationError, VariantRefused
from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Voice
from cosybuild.system.environment import Environment
from cosybuild.voice_description import DESCRIPTION
from tests.deploy.delivering import tree
from tests.deploy.voices import FULL, STREAMING, VOCODER, run_of
from tests.runtime.voice.triton_stand_in import RequestRefused, Server, TritonError, backend_utils
from tests.runtime.voice.voices import prompt, tokens

Services = Callable[[int], Path]
BASE = 1000


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend_utils())
    yield
    sys.modules.pop("cosybuild.runtime.voice.triton_model", None)


def put(run: Path, repository: Path, **triton: Any) -> Path:
    """Deploy into a repository and return the model's directory."""
    settings = DeploySettings(service=Service.triton, dir=str(repository), triton=TritonSettings(**triton))
    return Path(deploy(run, settings, Environment(gpu_list=()))["dir"])


@pytest.fixture
def model(tmp_path: Path, services: Services) -> Path:
    """Deploy both kinds of attention of a voice and return the directory of the model."""
    put(run_of(services(2), tmp_path / "full"), tmp_path / "repository", token_base=BASE)
    return put(run_of(services(2), tmp_path / "streaming", streaming=True), tmp_path / "repository", token_base=BASE)


def request(target: np.ndarray, **more: Any) -> dict[str, Any]:
    """Return a request as CosyVoice's example makes it."""
    prompt_tokens, mel, speaker = prompt(2)
    return {
        "target_speech_tokens": (target.reshape(1, -1) + BASE).astype(np.int32),
        "prompt_speech_tokens": (prompt_tokens.reshape(1, -1) + BASE).astype(np.int32),
        "prompt_speech_feat": mel.reshape(1, -1, 80).astype(np.float16),
        "prompt_spk_embedding": speaker.reshape(1, -1).astype(np.float16),
        **more,
    }


def part(target: np.ndarray, offset: int, finalize: bool, **more: Any) -> dict[str, Any]:
    """Return one request of a stream."""
    state = {"token_offset": np.array([[offset]], np.int32), "finalize": np.array([[finalize]])}
    return request(target, **state, **more)


def halved() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the prompt in the types of the model's inputs."""
    prompt_tokens, mel, speaker = prompt(2)
    return prompt_tokens, mel.astype(np.float16).astype(np.float32), speaker.astype(np.float16).astype(np.float32)


def streamed(voice: Voice, target: np.ndarray) -> np.ndarray:
    return np.concatenate(list(voice.stream(iter(target), *halved())))


def test_the_repository_has_one_model_with_the_tensors_of_cosyvoices_example(model: Path) -> None:
    files = set(tree(model))
    config = Server(model).config
    assert [(p.name, p.data_type, list(p.dims), p.optional) for p in config.input] == [
        ("target_speech_tokens", 8, [-1], False),
        ("prompt_speech_tokens", 8, [-1], False),
        ("prompt_speech_feat", 10, [-1, 80], False),
        ("prompt_spk_embedding", 10, [-1], False),
        ("token_offset", 8, [1], True),
        ("finalize", 1, [1], True),
    ]
    assert [(p.name, p.data_type, list(p.dims)) for p in config.output] == [("waveform", 11, [-1])]
    assert (config.max_batch_size, config.HasField("sequence_batching")) == (1, False)
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, 2)]  # KIND_CPU
    assert not config.model_transaction_policy.decoupled
    names = {f"1/{name}{suffix}" for name in (*FULL, *STREAMING) for suffix in ("", ".manifest.json")}
    assert files == {"config.pbtxt", "1/model.py", f"1/{DESCRIPTION}", *names}
    assert check([str(model)]) == 0


def test_several_instances_get_the_requests_of_a_sequence_each(tmp_path: Path, services: Services) -> None:
    model = put(run_of(services(2), tmp_path / "run"), tmp_path / "r", instances=3, model="voice", version=4)
    config = Server(model).config
    assert (config.name, config.instance_group[0].count) == ("voice", 3)
    assert config.sequence_batching.oldest.max_candidate_sequences > 3
    assert config.sequence_batching.max_sequence_idle_microseconds == 60_000_000
    assert (model / "4" / "model.py").is_file()


def test_a_request_with_all_tokens_gets_the_whole_waveform(model: Path) -> None:
    target = tokens(2, 12)
    (samples,) = Server(model).infer(request(target))
    assert np.array_equal(samples, load_voice(model / "1")(target, *halved()))


@pytest.mark.parametrize("groups", [[26], [1, 25], [3, 9, 14], [20, 6, 0]])
def test_the_requests_of_a_stream_get_the_samples_of_the_stream(model: Path, groups: list[int]) -> None:
    server, target = Server(model), tokens(2, 26).reshape(-1)
    ends = np.cumsum(groups)
    pieces = [
        server.infer(
            part(target[:end], 0 if not index else int(ends[index - 1]), index == len(ends) - 1, request_id="a")
        )[0]
        for index, end in enumerate(ends)
    ]
    assert np.array_equal(np.concatenate(pieces), streamed(load_voice(model / "1"), target))
    (error,) = server.infer(part(target, 26, True, request_id="a"))
    assert isinstance(error, TritonError), "the last request ends the stream"


def test_samples_come_before_the_last_request(model: Path) -> None:
    server, target = Server(model), tokens(2, 60).reshape(-1)
    (first,) = server.infer(part(target[:50], 0, False, request_id="a"))
    assert 0 < first.size < 50 * 2 * 480
    (rest,) = server.infer(part(target, 50, True, request_id="a"))
    assert first.size + rest.size == 60 * 2 * 480


def test_streams_do_not_disturb_each_other(model: Path) -> None:
    server, one, other = Server(model), tokens(2, 26, 1).reshape(-1), tokens(2, 30, 2).reshape(-1)
    made: dict[Any, list[Any]] = {"a": [], 7: []}
    for end, last in ((10, False), (26, True)):
        results = server.infer(
            part(one[:end], end - 10, last, request_id="a"), part(other[: end + 4], end - 10, last, sequence=7)
        )
        for name, samples in zip(made, results, strict=True):
            made[name].append(samples)
        if not last:
            # One request of a batch fails, and the others are not affected.
            failed, whole = server.infer(request(np.array([50])), request(one))
            assert isinstance(failed, TritonError)
            assert isinstance(whole, np.ndarray)
    voice = load_voice(model / "1")
    assert np.array_equal(np.concatenate(made["a"]), streamed(voice, one))
    assert np.array_equal(np.concatenate(made[7]), streamed(voice, other))


def error_of(server: Server, given: dict[str, Any]) -> str:
    (error,) = server.infer(given)
    assert isinstance(error, TritonError)
    assert error.code() == TritonError.INVALID_ARG
    return error.message()


def test_a_request_that_cannot_be_served_gets_an_error(model: Path) -> None:
    server, target = Server(model), tokens(2, 26).reshape(-1)
    assert "whole numbers from 0 to 39 are expected" in error_of(server, request(np.array([40])))
    assert "needs a request id or a correlation id" in error_of(server, part(target, 0, True))
    assert "the stream a is not known: token_offset is 5" in error_of(server, part(target, 5, True, request_id="a"))
    server.infer(part(target[:10], 0, False, request_id="a"))
    assert "was continued with other tokens" in error_of(server, part(target[5:], 10, False, request_id="a"))
    assert "is not known" in error_of(server, part(target, 10, True, request_id="a")), "an error ends the stream"
    assert "prompt_mel has" in error_of(server, {**part(target, 0, True, request_id="b"),
                                                "prompt_speech_feat": np.zeros((1, 3, 80), np.float16)})  # fmt: skip
    with pytest.raises(RequestRefused, match="prompt_spk_embedding is missing"):
        server.infer({name: value for name, value in request(target).items() if name != "prompt_spk_embedding"})


def test_a_new_first_request_begins_the_stream_again(model: Path) -> None:
    server, target = Server(model), tokens(2, 26).reshape(-1)
    server.infer(part(tokens(2, 20, 5).reshape(-1), 0, False, request_id="a"))
    (samples,) = server.infer(part(target, 0, True, request_id="a"))
    assert np.array_equal(samples, streamed(load_voice(model / "1"), target))


def test_streams_without_requests_are_dropped_and_their_threads_end(model: Path) -> None:
    server, target, now = Server(model), tokens(2, 26).reshape(-1), [0.0]
    server.model._clock = lambda: now[0]
    before = threading.active_count()
    for name in "abc":
        server.infer(part(target[:10], 0, False, request_id=name))
    assert threading.active_count() == before + 3
    now[0] = 59.0
    server.infer(part(target[:11], 10, False, request_id="a"))
    now[0] = 61.0
    assert "is not known" in error_of(server, part(target, 10, True, request_id="b"))
    assert threading.active_count() == before + 1
    server.model.finalize()
    assert threading.active_count() == before


@pytest.mark.attack("fill or wait", "a further stream is refused until one ends")
def test_an_instance_has_a_largest_number_of_streams(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, target = Server(model), tokens(2, 26).reshape(-1)
    monkeypatch.setattr(sys.modules["cosybuild.runtime.voice.triton_model"], "STREAMS", 2)
    for name in "ab":
        server.infer(part(target[:10], 0, False, request_id=name))
    (refused,) = server.infer(part(target[:10], 0, False, request_id="c"))
    assert isinstance(refused, TritonError)
    assert (refused.code(), "2 streams have begun" in refused.message()) == (TritonError.UNAVAILABLE, True)
    server.infer(part(target, 10, True, request_id="a"))
    assert not isinstance(server.infer(part(target[:10], 0, False, request_id="c"))[0], TritonError)
    server.model.finalize()


@pytest.mark.attack("malformed", "the request gets an error, and the others of the same call get their samples")
def test_an_unexpected_error_is_that_of_its_request_only(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, target = Server(model), tokens(2, 26).reshape(-1)
    vocoder, calls = server.model._voice.vocoder, []

    def failing(**inputs: Any) -> Any:
        calls.append(len(calls))
        return 1 / 0 if calls == [0] else vocoder(**inputs)

    monkeypatch.setattr(server.model._voice, "vocoder", failing)
    first, second = server.infer(request(target), request(target))
    assert isinstance(first, TritonError)
    assert (first.code(), first.message()) == (TritonError.INTERNAL, "division by zero")
    assert not isinstance(second, TritonError)
    assert second.size


def test_a_model_whose_parts_do_not_belong_together_is_not_loaded(
    model: Path, tmp_path: Path, services: Services
) -> None:
    other = run_of(services(2), tmp_path / "other", vocoder="7")
    for suffix in ("", ".manifest.json"):
        (model / "1" / f"{VOCODER}{suffix}").write_bytes((other / f"{VOCODER}{suffix}").read_bytes())
    with pytest.raises(ArtifactRefused, match=f"{VOCODER}: it is not the vocoder of this voice"):
        Server(model)
    assert check([str(model)]) == 5


def test_the_parameters_of_the_model_choose_forms_of_the_parts(model: Path) -> None:
    with (model / "config.pbtxt").open("a") as config:
        config.write(r'parameters { key: "forms" value: { string_value: "{\"vocoder\": \"lowered\"}" } }')
    with pytest.raises(ArtifactRefused, match="has no vocoder of the form 'lowered'"):
        Server(model)


def test_the_model_is_rolled_back_as_one(model: Path, tmp_path: Path, services: Services) -> None:
    before = tree(model)
    put(run_of(services(2), tmp_path / "other", flow="3", vocoder="3"), model.parent, instances=2)
    assert {name for name in tree(model) if name.endswith(".onnx")} == {f"1/{name}" for name in FULL}
    rollback(model)
    assert tree(model) == before
    assert load_voice(model / "1", threads=1).facts.family == "cosyvoice2"


def test_an_unfinished_deployment_of_a_model_is_loaded_through_its_journal(
    model: Path, tmp_path: Path, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(root: Path, journal: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cosybuild.deploy.transaction.apply", never)
    with pytest.raises(KeyboardInterrupt):
        put(run_of(services(2), tmp_path / "other", flow="3", vocoder="3"), model.parent)
    with pytest.raises(VariantRefused, match="streaming attention is requested"):
        # The new voice has full attention only.
        load_voice(model / "1").stream([1], *prompt(2))


def test_a_backend_for_one_network_is_refused(tmp_path: Path, services: Services) -> None:
    with pytest.raises(ConfigurationError, match="backend=onnxruntime is about one network"):
        put(run_of(services(2), tmp_path / "run"), tmp_path / "r", backend=TritonBackend.onnxruntime)
