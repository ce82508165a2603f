"""Everything that can be configured, read from the environment once, at the edges of the program."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings by environment variable, each with the prefix `WAYSTATION_`. Temporal's own are `TEMPORAL_*`."""

    model_config = SettingsConfigDict(env_prefix="WAYSTATION_", use_attribute_docstrings=True, extra="ignore")

    state_dir: Path = Path("state")
    """Folder of everything that must outlive the process: database, keys, logs."""
    database_url: str = ""
    """`sqlite:///path` or `postgresql://user:password@host/name`; by default a SQLite file in the state folder."""
    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=0, le=65535)
    temporal_ui_url: str = "http://127.0.0.1:8733"
    """Address of Temporal's UI, for the links that sessions carry."""
    master_key: SecretStr | None = None
    """32 bytes as base64, which seal credentials; by default a file in the state folder, made at first start."""
    scripted_url: str | None = None
    """Where the `scripted` runtime listens; bootstrap registers it with a demo agent."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Largest request body; a larger one is answered with 413."""
    blobs_url: str = ""
    """`s3://bucket/prefix` for the bytes of files and skills; by default the folder `blobs` of the state folder."""
    blobs_endpoint: str = ""
    """Address of an S3-compatible service other than AWS."""
    max_file_bytes: int = Field(default=500 * 1024 * 1024, ge=1024)
    """Largest file that may be uploaded; a larger one is answered with 413."""
    max_skill_bytes: int = Field(default=30 * 1024 * 1024, ge=1024)
    """Most bytes of a skill version, as uploaded and unpacked."""
    repository_origins: str = "https://github.com"
    """Comma-separated origins that repositories of sessions may be cloned from."""
    max_queued_events: int = Field(default=1000, ge=1)
    """Most inputs of one session that may wait to be claimed."""
    max_streams: int = Field(default=10_000, ge=1)
    """Most event streams one process keeps open."""
    allow_private_addresses: bool = False
    """Whether MCP servers and token endpoints of credentials may have private, loopback or link-local addresses."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    worker_kinds: str = ""
    """Comma-separated runtime kinds whose turns this worker runs; empty: all."""
    max_concurrent_turns: int = Field(default=4000, ge=1)
    heartbeat_timeout_s: float = Field(default=8.0, gt=0)
    """Seconds without a heartbeat after which a turn's activity is started elsewhere."""
    shutdown_limit_s: float = Field(default=20.0, gt=0)
    """Seconds a worker that is told to end gives its turns to detach or finish."""
    schedule_to_start_s: float = Field(default=30.0, gt=0)
    """Seconds a turn waits for a worker of its runtime before the session is told that there is none."""
    reconcile_interval_s: float = Field(default=2.0, gt=0)
    """Seconds between two looks for sessions that owe work and have not moved."""
    reconcile_after_s: float = Field(default=10.0, gt=0)
    """Seconds a session must not have moved before it is woken by the reconciler."""
    stop_bound_s: float = Field(default=30.0, gt=0)
    """Seconds after which a stop without evidence of the native end says so."""

    @model_validator(mode="after")
    def _default_database(self) -> "Settings":
        if not self.database_url:
            self.database_url = f"sqlite:///{self.state_dir}/waystation.db"
        return self
