"""Any Hugging Face causal language model in this process."""

from promptmill.model.local.backend import LocalBackend

__all__ = ["LocalBackend"]
