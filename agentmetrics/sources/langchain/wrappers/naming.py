"""The provider and model of an object that reports neither to LangChain."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from agentmetrics.calls.facts import UNKNOWN
from agentmetrics.recording.metric import classes_of, clean_label, module_of, name_of

# As ``ls_provider`` has it for the chat models of the same package.
_PROVIDERS = {
    "langchain_aws": "amazon_bedrock",
    "langchain_mistralai": "mistral",
}
_MODEL_ATTRIBUTES = ("model", "model_name", "model_id", "model_arn")


def provider_of(asked: object) -> str:
    """The provider, by the package that the object's class, or one it inherits from, is in."""
    for cls in classes_of(asked):
        package, *modules = module_of(cls).split(".")
        if package == "langchain_openai" and name_of(cls).startswith("Azure"):
            return "azure"
        if package == "langchain_community" and len(modules) > 1:
            return modules[1].removesuffix("_rerank")
        if package.startswith("langchain_") and package != "langchain_core":
            return _PROVIDERS.get(package, package.removeprefix("langchain_"))
    return UNKNOWN


def model_of(asked: Any) -> str:
    """The model that is asked for, by the names that the attribute has in LangChain's packages.

    A deployment stands before a model that nobody chose: that one is a default of the class.
    """
    with suppress(Exception):  # somebody's own object, whose attributes may do anything
        chosen = getattr(asked, "model_fields_set", ())
        if "deployment" in chosen and "model" not in chosen:
            return clean_label(asked.deployment) or UNKNOWN
        for name in _MODEL_ATTRIBUTES:
            model = getattr(asked, name, None)
            if isinstance(model, str) and model:
                return clean_label(model.removeprefix("models/"))  # Google's names of resources
    return UNKNOWN
