"""What the predictor sees of a text: the mean of a model's last hidden states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from promptmill.crafts.rewrite.predictor.predictor import encoder_of, features
from promptmill.errors import InputError
from promptmill.model.embedded import embedded_backend
from promptmill.model.local import LocalBackend
from tests.conftest import SHIPPED
from tests.tiny import reference

TEXTS = [
    "Reverse the words.",
    "Write the words of the text from last to first. Nothing else.",
    "x",
    "Reverse the words.",
]


@pytest.mark.parametrize("name", SHIPPED)
def test_features_of_an_embedded_model_do_not_depend_on_the_batch(name: str):
    backend = embedded_backend(name)
    loaded = backend.loaded()
    together = features(loaded, TEXTS)
    size = loaded.model.config.hidden_size
    assert (together.shape, together.dtype) == ((4, size), np.float32)
    for batch in (1, 2):
        np.testing.assert_allclose(features(loaded, TEXTS, batch), together, atol=1e-4)
    np.testing.assert_array_equal(together[0], together[3])
    assert not np.allclose(together[0], together[1], atol=1e-2)
    assert features(loaded, []).shape[0] == 0
    encoder = encoder_of(backend)
    assert encoder.fingerprint == loaded.fingerprint
    np.testing.assert_array_equal(encoder.vectors(TEXTS), together)


def test_features_are_the_mean_of_the_last_hidden_states(tiny_folder: Path, tiny_backend: LocalBackend):
    loaded = tiny_backend.loaded()
    model = reference(tiny_folder)
    for text, found in zip(TEXTS, features(loaded, TEXTS), strict=True):
        ids = torch.tensor([loaded.chat.encode(text, special=True)])
        states = model(ids, output_hidden_states=True).hidden_states[-1]
        np.testing.assert_allclose(found, states[0].mean(dim=0).detach().numpy(), atol=1e-4)
    with pytest.raises(InputError, match="no tokens"):
        features(loaded, ["a", ""])
    long = features(loaded, ["the " * 1000])  # more than the context holds
    assert np.isfinite(long).all()
