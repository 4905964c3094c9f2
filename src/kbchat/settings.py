"""Configuration: arguments first, then `KBCHAT_*` variables, then `kbchat.toml` in the working folder.

Nothing is read when this module is imported, only when a `Settings` is made.
"""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UndecodableError

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.errors import SettingsError
from kbchat.strategies import Expand, Strategy

TOML = "kbchat.toml"
"""The file of settings, in the working folder."""
MAX_TOP_K = 1000
ANSWER_SHARE = 0.25
"""What is kept free of a model's context for its answer, when the request does not say how long that may be."""


class ModelSettings(BaseModel):
    """One OpenAI-compatible model server. `model` is the name the server knows.

    `context_tokens` is how much the model can hold: prompt and answer together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str
    model: str
    api_key: SecretStr | None = None
    context_tokens: int = Field(default=8192, ge=256)


class RetrievalSettings(BaseModel):
    """How questions are searched for, with the ranges and defaults that hold everywhere: in the settings, in a call,
    and in what is tried. `Stages` says what each means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_k: int = Field(default=5, ge=1, le=MAX_TOP_K)
    score_threshold: float | None = Field(default=None, ge=0, le=1)
    strategy: Strategy = Field(default=Strategy.HYBRID, strict=False)
    dense_weight: float | None = Field(default=None, ge=0, le=10)
    sentence_weight: float | None = Field(default=None, ge=0, le=10)
    diversity: float = Field(default=0.0, ge=0, le=1)
    expand: Expand = Field(default=Expand.NONE, strict=False)
    expand_tokens: int = Field(default=512, ge=1, le=100_000)
    rerank: bool = True


class Settings(RetrievalSettings, BaseSettings):
    """Everything that can be set. Each field is also a variable: `KBCHAT_` and its name in capitals.

    What is given goes before the environment, and that before `kbchat.toml`. Raises `SettingsError` that names each
    field that cannot be used, without its value, which may be a secret, and each argument and line of the file that
    sets nothing. A variable that sets nothing may be another program's: `kbchat doctor` points it out.
    """

    model_config = SettingsConfigDict(
        env_prefix="KBCHAT_",
        env_nested_delimiter="__",
        toml_file=TOML,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    if not TYPE_CHECKING:  # Else type checkers would no longer know the arguments.

        def __init__(self, **given: Any) -> None:
            try:
                super().__init__(**given)
            except ValidationError as error:
                raise SettingsError(f"settings that cannot be used: {_problems(error)}") from None
            except UndecodableError as error:
                raise SettingsError(f"a KBCHAT_* variable must hold JSON: {error}") from None
            except (OSError, ValueError) as error:
                raise SettingsError(f"{TOML} cannot be read: {error}") from None

    # Where things are
    data_dir: Path = Path("kb-data")
    catalog_url: str | None = Field(default=None, description="sqlite:///… or postgresql://…; default: in data_dir")
    chroma_url: str | None = Field(default=None, description="A Chroma server; default: embedded, in data_dir")
    chroma_token: SecretStr | None = None
    chroma_ca_file: Path | None = Field(default=None, description="Whose certificates an https: URL may show")
    milvus_uri: str | None = Field(default=None, description="A Milvus server; default: a Milvus Lite file in data_dir")
    milvus_token: SecretStr | None = None
    milvus_database: str | None = Field(default=None, description="Default: the server's own")
    milvus_ca_file: Path | None = Field(default=None, description="Whose certificates an https: URI may show")
    milvus_index_type: str = Field(
        default="HNSW", description="Of new collections, on servers; Milvus Lite searches exactly"
    )
    milvus_index_params: dict[str, int] | None = Field(
        default=None, description="The index's parameters, as Milvus calls them"
    )
    milvus_search_params: dict[str, int] | None = Field(default=None, description="A search's parameters")
    milvus_metric: Literal["COSINE", "IP", "L2"] = Field(
        default="COSINE", description="How the index of new collections measures; scores are the same by each"
    )
    milvus_consistency: Literal["Strong", "Session", "Bounded", "Eventually"] = "Session"
    lexical: Literal["auto", "embedded", "milvus"] = Field(
        default="auto", description="Where the words of spaces on Milvus are searched"
    )
    store_timeout: float = Field(default=10.0, gt=0, description="Seconds a store may take to answer")
    busy_timeout: float = Field(default=10.0, ge=0, description="Seconds to wait for another writing process")
    threads: int = Field(default=16, ge=1, le=256, description="Blocking calls at once")

    # Embedding
    embedder: str = Field(default="static", description="static, openai:MODEL or sentence-transformers:NAME_OR_FOLDER")
    embedder_base_url: str | None = Field(default=None, description="Default: llm_base_url")
    embedder_api_key: SecretStr | None = None

    # Splitting
    chunk_strategy: ChunkStrategy = ChunkStrategy.STRUCTURE
    chunk_tokens: int | None = Field(default=None, ge=16, le=8192, description="Default: 256, a page or section 8192")
    chunk_overlap: int = Field(default=0, ge=0)
    max_document_bytes: int = Field(default=64 * 1024 * 1024, ge=1, description="Larger files are refused")
    document_timeout: float = Field(default=60.0, gt=0, description="Seconds that reading one document may take")
    document_memory: int = Field(
        default=1024 * 1024 * 1024,
        ge=64 * 1024 * 1024,
        description="Bytes of memory that reading one document may take",
    )

    url_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Hosts that documents may be fetched from (*.example.org: all below); none unless set"
    )
    url_timeout: float = Field(default=30.0, gt=0, description="Seconds that fetching one document may take")

    # Reranking and prompt; how questions are searched for is in `RetrievalSettings`
    rerank_model: str | None = Field(
        default=None, description="A model at rerank_base_url, or sentence-transformers:NAME_OR_FOLDER; default: none"
    )
    rerank_base_url: str | None = Field(default=None, description="A server with /rerank; it often ends in /v1")
    rerank_api_key: SecretStr | None = None
    rewrite: Literal["model", "rule"] = Field(default="model", description="Who makes follow-up questions searchable")
    prompt_tokens: int = Field(default=4096, ge=256, description="Budget of passages, turns and question together")

    # Models
    llm_base_url: str | None = None
    llm_api_key: SecretStr | None = None
    llm_model: str | None = None
    llm_context_tokens: int = Field(default=8192, ge=256, description="What that model can hold, prompt and answer")
    models: dict[str, ModelSettings] = Field(default={}, description="Further model servers by name")
    default_model: str | None = Field(default=None, description="Default: the llm_* one, else extractive")
    unknown_model: Literal["error", "default"] = "error"
    connect_timeout: float = Field(default=10.0, gt=0, description="Seconds to reach a model server")
    read_timeout: float = Field(default=60.0, gt=0, description="Seconds a model server may be silent")

    # Conversations
    conversation_turns: int = Field(default=40, ge=2, le=10_000, description="Questions and answers kept of each")
    conversation_days: float = Field(default=30.0, gt=0, le=36_500, description="Forgotten so long after the last turn")

    # Agents
    mcp: bool = Field(default=True, description="Serve agents at /mcp, where the extra mcp is installed")
    mcp_write: bool = Field(default=False, description="Let agents with a writer's key add and delete documents")

    # Serving
    host: str = "127.0.0.1"
    port: int = Field(default=5670, ge=0, le=65535)
    page: bool = Field(default=True, description="Whether there is a page at /")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(default=(), description="Admin keys, comma-separated")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Host names accepted without keys, beside loopback"
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(default=(), description="Web origins that may call")
    max_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    max_question_chars: int = Field(default=100_000, ge=1)
    max_streams: int = Field(default=1000, ge=1, description="Answers under way at once")
    max_streams_per_key: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1, description="Of each key; default: no limit")
    request_timeout: float = Field(default=600.0, gt=0, description="How long a request may take in all")
    write_timeout: float = Field(default=60.0, gt=0, description="How long a reader may take nothing of its answer")
    keep_alive_seconds: float = Field(default=15.0, gt=0)
    shutdown_timeout: float = Field(default=5.0, ge=0, description="How long running streams may finish after SIGTERM")

    @field_validator("api_keys", "url_hosts", "allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("data_dir", mode="before")
    @classmethod
    def _is_a_folder(cls, value: object) -> object:
        return _folder(value) if isinstance(value, str | os.PathLike) else value

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        if self.chunk_overlap >= self.splitting.size:
            raise ValueError("chunk_overlap must be smaller than chunk_tokens")
        if self.llm_base_url and not self.llm_model:
            raise ValueError("llm_base_url needs llm_model: the name of a model on that server")
        if self.rerank_base_url and not self.rerank_model:
            raise ValueError("rerank_base_url needs rerank_model: the name of a model on that server")
        self._check_prompt()
        return self

    def _check_prompt(self) -> None:
        """A budget that was asked for must fit one of the models at least; the others are given what fits them."""
        contexts = [it.context_tokens for it in self.models.values()]
        contexts += [self.llm_context_tokens] if self.llm_model else []
        room = max(contexts, default=0) - int(max(contexts, default=0) * ANSWER_SHARE)
        if contexts and "prompt_tokens" in self.model_fields_set and self.prompt_tokens > room:
            raise ValueError(
                f"prompt_tokens may be {room} at most: of a model's context of {max(contexts)} tokens a quarter is "
                "for the answer; lower it, or say what it can hold (llm_context_tokens, context_tokens)"
            )

    @property
    def splitting(self) -> Splitting:
        """How documents are split where neither their space nor the ingest says otherwise. By the strategy `separator`
        that is at blank lines: another separator is for a `Splitting` to say."""
        return Splitting.model_construct(
            strategy=self.chunk_strategy, max_tokens=self.chunk_tokens, overlap=self.chunk_overlap
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if Path(TOML).is_dir():  # Docker makes one where a file was to be mounted that is not there.
            raise IsADirectoryError("it is a folder")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def meant(name: str) -> str:
    """What to do about a name that is no setting."""
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"did you mean {close[0]}?" if close else "docs/settings.md has them all"


def given_or_read(settings: Settings | None, data_dir: str | os.PathLike[str] | None) -> Settings:
    """The settings that a program gives, else those of the variables and the file; with another data folder if told."""
    if settings is None:
        settings = Settings()
    elif not isinstance(settings, Settings):
        raise SettingsError(f"settings: must be a kbchat.Settings, not {type(settings).__name__}")
    if data_dir is None:
        return settings
    try:
        return settings.model_copy(update={"data_dir": _folder(data_dir)})
    except ValueError as error:
        raise SettingsError(f"data_dir: {error}") from None


def _folder(given: str | os.PathLike[str]) -> Path:
    if given == "":
        raise ValueError("an empty path is refused; the working folder is '.'")
    if not isinstance(given, str | os.PathLike):
        raise ValueError(f"must be a path, not {type(given).__name__}; settings are given as `settings=`")
    try:
        Path(given).expanduser()
    except RuntimeError:
        raise ValueError(f"{str(given)!r} is nobody's home folder") from None
    return Path(given)


def _problems(error: ValidationError) -> str:
    """What is wrong with each field, without its value, which may be a secret."""
    said = []
    for problem in error.errors(include_url=False, include_input=False):
        name, what = _placed(problem["loc"]), problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            what = f"is no setting; {meant(name)}" if len(problem["loc"]) == 1 else "is no setting"
        said.append(f"{name}: {what}" if name else what)
    return "; ".join(said)


def _placed(loc: Sequence[str | int]) -> str:
    """A setting's name, and the variable that sets it where there is one: else it is an argument's or the file's."""
    name = ".".join(map(str, loc))
    variables = {it.upper() for it in os.environ}
    variable = f"KBCHAT_{loc[0]}".upper() if loc else ""
    return f"{name} ({variable})" if variable in variables else name
