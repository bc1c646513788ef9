"""Settings of one process: read once from the environment (``MASKWRIGHT_*``) or a ``.env`` file, then frozen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MEGABYTE = 1024**2
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class Settings(BaseSettings):
    """Everything that an operator can set. Environment variable: the field's name in capitals after ``MASKWRIGHT_``."""

    model_config = SettingsConfigDict(env_prefix="MASKWRIGHT_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(Path("~/.maskwright"), description="Folder for caches, databases and logs.")
    host: str = Field("127.0.0.1", description="Address that the server binds.")
    port: int = Field(9090, ge=0, le=65535, description="Port that the server binds; 0 takes a free one.")
    threads: int = Field(16, ge=2, le=256, description="Server threads that answer requests.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    username: str = Field("", description="User of HTTP basic auth; empty = none.")
    password: SecretStr = Field(SecretStr(""), description="Password of HTTP basic auth.")
    bearer_token: SecretStr = Field(SecretStr(""), description="Secret accepted as 'Authorization: Bearer ...'.")
    allow_unauthenticated_bind: bool = Field(
        False, description="Allow binding beyond loopback without credentials (only behind a proxy that has them)."
    )
    max_request_bytes: int = Field(64 * MEGABYTE, ge=1024, description="Largest request body accepted.")

    model: str = Field("embedded", description="Model URI of the default segmenter.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    cpu_threads: int = Field(0, ge=0, description="Threads torch may use on the CPU; 0 = one per core.")
    offline: bool = Field(False, description="Never contact a model hub; only local folders and its cache.")

    max_image_bytes: int = Field(256 * MEGABYTE, ge=1024, description="Largest encoded image accepted.")
    max_image_pixels: int = Field(200_000_000, ge=1, description="Largest image accepted, width x height.")
    tile_size: int = Field(2048, ge=256, description="Images with a longer side are handled in tiles of this side.")
    tile_halo: int = Field(128, ge=0, description="Overlap of neighbouring tiles in pixels.")

    memory_cache_bytes: int = Field(512 * MEGABYTE, ge=0, description="Image embeddings kept in memory.")
    image_cache_bytes: int = Field(128 * MEGABYTE, ge=0, description="Decoded images kept in memory.")
    disk_cache_bytes: int = Field(4096 * MEGABYTE, ge=0, description="Image embeddings kept on disk; 0 = none.")
    queue_size: int = Field(64, ge=1, description="Encodes that may wait; beyond it requests get 503.")
    batch_size: int = Field(8, ge=1, description="Images per encoder batch.")
    batch_deadline_s: float = Field(60.0, gt=0, le=90, description="A batch request is answered within this time.")

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts (comma separated, *.example.org allowed) images may come from; empty = any public host."
    )
    allow_private_hosts: bool = Field(False, description="Allow images from private and loopback addresses.")
    local_files_root: Path | None = Field(None, description="Folder local-files paths may name; none = refused.")
    fetch_timeout_s: float = Field(30.0, gt=0, description="Longest time to fetch one image.")

    database_url: SecretStr = Field(
        SecretStr(""), description="postgresql+psycopg://... for corrections and snapshots; empty = SQLite under home."
    )
    sync_interval_s: float = Field(
        300.0,
        ge=0,
        description="Seconds between comparisons with the platform; 0 = when events were lost.",
    )
    queue_look_s: float = Field(
        60.0, ge=1, description="Seconds between looks for tasks that came or were labelled, in projects that learn."
    )

    queue_url: SecretStr = Field(
        SecretStr(""), description="redis://... through which workers are woken; empty = an SQLite file under home."
    )
    training_threads: int = Field(0, ge=0, description="Threads that a worker's training may use; 0 = half the cores.")

    tagger: str = Field("embedded", description="Model URI of the tagger, which reads words off images.")
    captioner: str = Field("none", description="Model URI of the captioner, which reads a sentence off images.")
    language: str = Field("none", description="Model URI of the language model that suggests classes.")
    detector: str = Field("embedded", description="Model URI of the detector, which finds what phrases name.")
    dense: str = Field("none", description="Model URI of the dense features, by which pixels support classes.")
    stage_models: int = Field(
        16, ge=1, description="Models around the segmenter kept in memory; the least recently used leave."
    )

    language_api_key: SecretStr = Field(SecretStr(""), description="Secret of the language model's server.")
    language_server: str = Field(
        "https://api.openai.com/v1", description="The only server that is sent language_api_key: its base URL."
    )
    language_timeout_s: float = Field(30.0, gt=0, le=600, description="Longest wait for an answer of a language model.")
    language_max_tokens: int = Field(1024, ge=16, description="Longest answer asked of a language model.")
    language_price_prompt: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Money per million tokens that language_server reads."
    )
    language_price_completion: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Money per million tokens that language_server writes."
    )
    language_money: float = Field(
        0.0, ge=0, allow_inf_nan=False,
        description="Most money per day (UTC) for language_server, all processes of a home together; 0 = no bound.",
    )  # fmt: skip
    language_cache_bytes: int = Field(64 * MEGABYTE, ge=0, description="Answers kept on disk; 0 = none.")

    label_studio_url: str = Field("", description="Label Studio's base URL as seen from here; overrides /setup's.")
    label_studio_api_key: SecretStr = Field(SecretStr(""), description="Personal access or legacy token.")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("language_server")
    @classmethod
    def _has_scheme(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("write the server's base URL as model URIs do, such as https://api.openai.com/v1")
        return value

    @field_validator("home", "local_files_root")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("set MASKWRIGHT_USERNAME and MASKWRIGHT_PASSWORD together, or neither")
        if self.tile_halo * 2 >= self.tile_size:
            raise ValueError("MASKWRIGHT_TILE_HALO must be less than half of MASKWRIGHT_TILE_SIZE")
        if self.language_money and not self.has_prices:
            raise ValueError(
                "set MASKWRIGHT_LANGUAGE_PRICE_PROMPT and MASKWRIGHT_LANGUAGE_PRICE_COMPLETION: without prices nothing "
                "counts against MASKWRIGHT_LANGUAGE_MONEY"
            )
        queue = self.queue_url.get_secret_value()
        if queue and not queue.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("set MASKWRIGHT_QUEUE_URL to redis://host:6379/0 or the like, or leave it empty")
        return self

    @property
    def has_prices(self) -> bool:
        """Whether tokens of the language model's server cost anything that is known."""
        return self.language_price_prompt > 0 or self.language_price_completion > 0

    @property
    def has_credentials(self) -> bool:
        """Whether any secret guards the server."""
        return bool(self.username) or bool(self.bearer_token.get_secret_value())


def read_settings(**options: Any) -> Settings:
    """The settings of this process, with every option that is not None put over its environment variable.

    Raises:
        InvalidInput: Naming the variables that are wrong, never their values: some are secrets.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise InvalidInput("; ".join(_sentence(item) for item in error.errors())) from None
    except SettingsError as error:
        raise InvalidInput(f"the settings cannot be read: {error}") from None


def _sentence(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    where = "_".join(str(part) for part in error["loc"]).upper()
    return f"MASKWRIGHT_{where}: {message}" if where else message
