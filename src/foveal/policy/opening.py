"""The model that a user names: address of an endpoint, or a checkpoint folder. Nothing heavy is imported before."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import ConfigError, InputError

if TYPE_CHECKING:
    import httpx

    from foveal.policy.base import Policy

KEYS = ("FOVEAL_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key of an endpoint; the first that is set is used."""


def is_endpoint(policy: str) -> bool:
    """True for the address of an endpoint, False for a folder."""
    return policy.startswith(("http://", "https://"))


def api_key() -> str | None:
    """The key of the endpoint, from the environment."""
    return next((os.environ[name] for name in KEYS if os.environ.get(name)), None)


def served_models(url: str, key: str | None, transport: "httpx.BaseTransport | None" = None) -> list[str]:
    """Names of the models that an endpoint serves: `GET <url>/models`.

    Args:
        url: Base URL, as in `http://127.0.0.1:8000/v1`.
        key: Sent as a bearer token.
        transport: Another httpx transport.

    Raises:
        InputError: Nothing answers there, or not as an OpenAI-compatible endpoint does.
    """
    import httpx

    from foveal.policy.openai import without_login

    address, shown = (one.rstrip("/") + "/models" for one in (url, without_login(url)))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(timeout=10, transport=transport) as client:
            reply = client.get(address, headers=headers)
    except httpx.InvalidURL:
        raise InputError(f"{shown} is no address", "correct the address of the policy") from None
    except httpx.HTTPError as error:
        fix = "start the endpoint, or correct the address of the policy"
        raise InputError(f"{shown} cannot be reached: {error}", fix) from error
    if reply.status_code in (401, 403):
        raise InputError(
            f"{shown} answered HTTP {reply.status_code}",
            f"set {KEYS[0]}, or the variable that key names in the settings, to a key that it accepts",
        )
    try:
        return [str(model["id"]) for model in reply.raise_for_status().json()["data"]]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{shown} answered HTTP {reply.status_code}, but no list of models",
            "give the base URL of an OpenAI-compatible endpoint; most end in /v1",
        ) from None


def open_policy(policy: str, model: str | None, concurrency: int = 16) -> "Policy":
    """The policy that flags or settings name: an endpoint's address or a checkpoint folder.

    Args:
        policy: The address or the folder.
        model: Name of the model at the endpoint.
        concurrency: Most turns written at once; of a checkpoint also conversations whose keys and values are kept.

    Raises:
        InputError: There is no such folder, or the endpoint does not answer.
        ConfigError: The endpoint serves several models and none was named, or a folder was given a model name.
        PolicyError: The folder holds no checkpoint that can be used.
    """
    if is_endpoint(policy):
        from foveal.policy.openai import OpenAIPolicy

        key = api_key()
        return OpenAIPolicy(policy, model or only_model(policy, key), key, max_concurrency=concurrency)
    if model is not None:
        raise ConfigError(
            f"the policy is the folder {policy}, and the model {model!r} would be one of an endpoint",
            "leave the model out, or give the address of an endpoint as the policy",
        )
    if not Path(policy).is_dir():
        fix = "give the address of an endpoint (http://...) or a checkpoint folder as the policy"
        raise InputError(f"there is no folder {policy}", fix)
    from foveal.policy.transformers import TransformersPolicy

    return TransformersPolicy(policy, max_batch=concurrency)


def only_model(url: str, key: str | None) -> str:
    """Name of the model of an endpoint that serves one.

    Raises:
        ConfigError: It serves several, or none.
        InputError: It does not answer as an endpoint does.
    """
    models = served_models(url, key)
    if len(models) != 1:
        from foveal.policy.openai import without_login

        some = ", ".join(models[:8]) or "none"
        raise ConfigError(f"{without_login(url)} serves {len(models)} models: {some}", "name one of them as the model")
    return models[0]
