"""Settings for a command: its options over the environment, mistakes as one readable line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    from maskwright.settings import Settings


def settings_from(**options: Any) -> Settings:
    """The settings of this process, with every option that is not None put over its environment variable.

    Raises:
        InvalidInput: Naming the variables that are wrong, never their values: some are secrets.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from maskwright.settings import Settings

    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput("; ".join(map(_sentence, error.errors()))) from None
    except SettingsError as error:
        raise InvalidInput(f"the settings cannot be read: {error}") from None


def _sentence(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    where = ".".join(map(str, error["loc"]))
    return f"MASKWRIGHT_{where.upper()}: {message}" if where else message
