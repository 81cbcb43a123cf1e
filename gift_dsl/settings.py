"""This machine's side of things: where the shipped files lie, and which key the user lets go to which host.

Nothing here enters a hash: a spec means the same on every machine.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

_ENV_NAME: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
_HOST: Final = re.compile(r"[a-z0-9._:\[\]-]+")

# Key names that their owners document, and the hosts they belong to. A shared spec chooses both a key's name and a
# URL, so a known name that is paired with another host is a theft or a mistake. Providers with a host for each
# customer are left out: a pair with an unlisted name is asked for, never refused outright.
KNOWN_KEY_HOSTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "ANTHROPIC_API_KEY": frozenset({"api.anthropic.com"}),
        "CEREBRAS_API_KEY": frozenset({"api.cerebras.ai"}),
        "AWS_SECRET_ACCESS_KEY": frozenset({"amazonaws.com"}),  # it signs requests there, and is never sent at all
        "AWS_SESSION_TOKEN": frozenset({"amazonaws.com"}),
        "COHERE_API_KEY": frozenset({"api.cohere.ai", "api.cohere.com"}),
        "CO_API_KEY": frozenset({"api.cohere.ai", "api.cohere.com"}),
        "DASHSCOPE_API_KEY": frozenset(
            {"dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com", "dashscope.aliyuncs.com"}
        ),
        "DEEPINFRA_API_KEY": frozenset({"api.deepinfra.com"}),
        "DEEPSEEK_API_KEY": frozenset({"api.deepseek.com"}),
        "FIREWORKS_API_KEY": frozenset({"api.fireworks.ai"}),
        "GEMINI_API_KEY": frozenset({"generativelanguage.googleapis.com"}),
        "GH_TOKEN": frozenset({"api.github.com", "models.github.ai"}),
        "GITHUB_TOKEN": frozenset({"api.github.com", "models.github.ai"}),
        "GOOGLE_API_KEY": frozenset({"generativelanguage.googleapis.com"}),
        "GROQ_API_KEY": frozenset({"api.groq.com"}),
        "HF_TOKEN": frozenset({"huggingface.co", "router.huggingface.co"}),
        "HUGGING_FACE_HUB_TOKEN": frozenset({"huggingface.co", "router.huggingface.co"}),
        "MISTRAL_API_KEY": frozenset({"api.mistral.ai"}),
        "MOONSHOT_API_KEY": frozenset({"api.moonshot.ai", "api.moonshot.cn"}),
        "NVIDIA_API_KEY": frozenset({"integrate.api.nvidia.com"}),
        "OPENAI_API_KEY": frozenset({"api.openai.com"}),
        "OPENROUTER_API_KEY": frozenset({"openrouter.ai"}),
        "PERPLEXITY_API_KEY": frozenset({"api.perplexity.ai"}),
        "TOGETHER_API_KEY": frozenset({"api.together.ai", "api.together.xyz"}),
        "WANDB_API_KEY": frozenset({"api.wandb.ai"}),
        "XAI_API_KEY": frozenset({"api.x.ai"}),
    }
)


def shipped(kind: Literal["games", "templates", "specs"]) -> Path:
    """The folder of shipped game files, prompt templates or specs.

    In an installed wheel it lies inside the package; in a checkout, an editable install or an unpacked sdist it lies
    beside the package.

    Raises:
        FileNotFoundError: the folder is in neither place, so the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    installed, checkout = package / "_shipped" / kind, package.parent / kind
    if installed.is_dir():
        return installed
    # Beside an installed package lie other people's packages, and one of them may be called `templates`.
    if (package.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    raise FileNotFoundError(f"the shipped {kind} are neither at {installed} nor, in a checkout, at {checkout}")


def user_config_dir() -> Path:
    """The user's own folder for gift: `$XDG_CONFIG_HOME/gift`, or `~/.config/gift` where that is unset or relative."""
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    root = configured if configured.is_absolute() else Path.home() / ".config"
    return root / "gift"


def load_key_bindings() -> Mapping[str, str]:
    """Which key the user has bound to which host: host (lower case) to the name of an environment variable.

    Read from `keys.toml` in the user's folder, a flat table of `"host" = "NAME"` lines; empty where there is no file.

    Raises:
        ValueError: the file cannot be read as that, with its path and the line or key that is wrong.
    """
    import tomllib

    path = _keys_file()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return MappingProxyType({})
    except ValueError as error:
        raise ValueError(f"{path} is not TOML in UTF-8: {error}") from error
    return MappingProxyType(dict(_checked(host, env, f"{path}: ") for host, env in table.items()))


def save_key_binding(host: str, env: str) -> None:
    """Let the key in environment variable `env` go to `host` from now on, instead of what was bound to it before.

    The file is replaced in one step and is readable by its owner only. It holds names, never a key.

    Raises:
        ValueError: `host` is not a host name (a port may follow it), `env` not the name of an environment variable,
            or the file that is there cannot be read.
    """
    host, env = _checked(host, env, "")
    bindings = {**load_key_bindings(), host: env}
    lines = [f"{json.dumps(name)} = {json.dumps(bound)}\n" for name, bound in sorted(bindings.items())]
    path = _keys_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as draft:
        draft.writelines(lines)
    Path(draft.name).replace(path)


def _keys_file() -> Path:
    return user_config_dir() / "keys.toml"


def _checked(host: str, env: object, where: str) -> tuple[str, str]:
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ValueError(f"{where}{host!r} is not a host name")
    if not isinstance(env, str) or not _ENV_NAME.fullmatch(env):
        # The value is not shown: what stands where a name belongs may be the key itself.
        raise ValueError(f"{where}what is bound to {host!r} is not the name of an environment variable (A-Z, 0-9, _)")
    return host, env
