"""What can be loaded as a local model, what it is called, and what is said of the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from promptmill.errors import ModelError, PromptmillError
from promptmill.model.chat import ScoreRequest
from promptmill.model.local import LocalBackend
from tests.tiny import ask, direct, question, questions, reference, texts_of, tiny_model


def lora(folder: Path, base: Path, seed: int, modules: Sequence[str] = ("q_proj", "v_proj", "down_proj")) -> Path:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=list(modules), init_lora_weights=False)
    get_peft_model(reference(base), config).save_pretrained(folder)
    return folder


def test_adapters_change_the_answers_and_add_up(tiny_folder: Path, tiny_backend: LocalBackend, tmp_path: Path) -> None:
    from peft import PeftModel

    one, two = lora(tmp_path / "one", tiny_folder, 1), lora(tmp_path / "two", tiny_folder, 2, ("q_proj", "o_proj"))
    request = ScoreRequest(question("is the sky blue ?").messages, ("yes", "no"))
    model = reference(tiny_folder)
    for adapters in ([one], [one, two]):
        adapted = LocalBackend(str(tiny_folder), device="cpu", adapters=[str(path) for path in adapters])
        model = PeftModel.from_pretrained(model, str(adapters[-1])).merge_and_unload()
        wanted = [direct(adapted, model, adapted.render(request.messages), " " + text) for text in ("yes", "no")]
        assert ask(adapted, [request])[0].logprobs == pytest.approx(wanted, abs=1e-2)
        assert ask(tiny_backend, [request])[0].logprobs != pytest.approx(wanted, abs=1e-2)
        assert adapted.fingerprint != tiny_backend.fingerprint


def error_of(*args: Any, opened: bool = False, **kwargs: Any) -> str:
    def attempt() -> None:
        backend = LocalBackend(*args, device="cpu", **kwargs)
        if opened:
            ask(backend, [])

    with pytest.raises(ModelError) as caught:
        attempt()
    assert isinstance(caught.value, PromptmillError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_errors_are_one_line(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    other = tiny_model(tmp_path / "other", hidden_size=64, num_attention_heads=4, head_dim=16)
    foreign = lora(tmp_path / "foreign", other, 1)
    assert "another model" in error_of(str(tiny_folder), adapters=[str(foreign)], opened=True)
    assert "adapter_config.json" in error_of(str(tiny_folder), adapters=[str(tmp_path)])
    assert "not a folder" in error_of(str(tmp_path / "nowhere"))
    assert "config.json" in error_of(str(tmp_path))
    assert "float64" in error_of(str(tiny_folder), dtype="float64")
    assert "batch size" in error_of(str(tiny_folder), batch_size=0)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in error_of("nobody/no-such-model")
    assert "Hugging Face name" in error_of("no such model!")
    (other / "model.safetensors").write_bytes(b"broken")
    assert "cannot be loaded" in error_of(str(other), opened=True)
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    assert "safetensors" in error_of(str(other))


def test_the_fingerprint_is_of_the_contents(tiny_folder: Path, tiny_backend: LocalBackend, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    assert LocalBackend(str(copy), device="cpu").fingerprint == tiny_backend.fingerprint
    assert LocalBackend(str(copy), device="cpu", dtype="bfloat16").fingerprint != tiny_backend.fingerprint
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    assert LocalBackend(str(copy), device="cpu").fingerprint != tiny_backend.fingerprint


def test_half_precision_runs_with_an_adapter_beside_the_weights(tiny_folder: Path, tmp_path: Path) -> None:
    adapters = [str(lora(tmp_path / "one", tiny_folder, 1))]
    plain, adapted = (
        LocalBackend(str(tiny_folder), device="cpu", dtype="bfloat16", batch_size=4, adapters=given)
        for given in ([], adapters)
    )
    requests = questions(6, n=2, temperature=1.0)
    answers = texts_of(ask(plain, requests))
    assert all(len(texts) == 2 for texts in answers)
    assert answers != texts_of(ask(adapted, requests))


def test_the_embedded_backend_is_a_local_one(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from promptmill.model import embedded

    monkeypatch.setattr(embedded, "embedded_path", lambda name: tiny_folder)
    backend = embedded.embedded_backend(batch_size=4)
    assert (backend.name, backend.device, backend.dtype) == ("embedded", "cpu", "float32")
    assert ask(backend, questions(1))[0].text == ask(LocalBackend(str(tiny_folder), device="cpu"), questions(1))[0].text


def test_a_backend_that_is_not_opened_does_not_import_torch(tiny_folder: Path) -> None:
    code = (
        "import sys, promptmill.model.embedded, promptmill.model.serve, promptmill.model.local as local\n"
        f"local.LocalBackend({str(tiny_folder)!r}, device='cpu'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_extra_is_named(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from promptmill.model.local import load

    monkeypatch.setattr(load, "find_spec", lambda name: None)
    assert "pip install 'promptmill[local]'" in error_of(str(tiny_folder))


def test_an_adapter_of_another_model_is_refused_before_any_weights_are_read(tiny_folder: Path, tmp_path: Path) -> None:
    adapter = lora(tmp_path / "adapter", tiny_folder, 1)
    deeper = lora(tmp_path / "deeper", tiny_model(tmp_path / "deep", num_hidden_layers=3), 1)
    assert "layers.2" in error_of(str(tiny_folder), adapters=[str(deeper)])
    narrow = tiny_model(tmp_path / "narrow", num_key_value_heads=1)
    (narrow / "model.safetensors").write_bytes(b"not read")
    assert "24 wide, here 12" in error_of(str(narrow), adapters=[str(adapter)]), "what goes into it is as wide in both"
    gpt2 = tiny_model(tmp_path / "gpt2", "gpt2")
    assert "does not have" in error_of(str(gpt2), adapters=[str(adapter)])
    LocalBackend(str(gpt2), device="cpu", adapters=[str(lora(tmp_path / "own", gpt2, 1, ["c_attn"]))])
    (deeper / "adapter_model.safetensors").write_bytes(b"broken")
    assert "cannot be read as safetensors" in error_of(str(tiny_folder), adapters=[str(deeper)])
