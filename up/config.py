"""What `make up` is told by the environment, and what it tells its children."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import devnull
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from settings import Settings
from up.errors import StartError


class Ports(BaseSettings):
    """TCP ports of the parts; the API's, `WAYSTATION_PORT`, is the product's own setting."""

    model_config = SettingsConfigDict(env_prefix="WAYSTATION_", extra="ignore")

    port: int = Field(default=8700, ge=1, le=65535)
    # Not Temporal's usual 7233 and 8233, so that a development server of another project can run beside it.
    temporal_port: int = Field(default=7733, ge=1, le=65535)
    temporal_ui_port: int = Field(default=8733, ge=1, le=65535)
    scripted_port: int = Field(default=8790, ge=1, le=65535)


@dataclass(frozen=True, slots=True)
class Config:
    """One launch: absolute state folder, database, host of the API, ports."""

    state_dir: Path
    database_url: str
    host: str
    ports: Ports

    @property
    def reachable_host(self) -> str:
        """The API's host as a client on this machine writes it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    @property
    def api_url(self) -> str:
        return f"http://{self.reachable_host}:{self.ports.port}"

    @property
    def temporal_ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.temporal_ui_port}"

    @property
    def scripted_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.scripted_port}"


def read() -> Config:
    """Read the environment.

    Raises:
        StartError: a setting is broken, or two parts have the same port.
    """
    try:
        settings, ports = Settings(), Ports()
    except ValidationError as error:
        first = error.errors()[0]
        # The value stays unsaid: it may be a secret.
        name = f"WAYSTATION_{'_'.join(str(part) for part in first['loc'])}".upper()
        raise StartError(f"{name} is no valid setting ({first['msg']}): correct or unset it") from None
    _refuse_same_ports(ports)
    state_dir = settings.state_dir.absolute()
    default = f"sqlite:///{settings.state_dir}/waystation.db"
    # Absolute, so that the children need not run where the launcher does.
    url = f"sqlite:///{state_dir}/waystation.db" if settings.database_url == default else settings.database_url
    return Config(state_dir=state_dir, database_url=url, host=settings.host, ports=ports)


def _refuse_same_ports(ports: Ports) -> None:
    seen: dict[int, str] = {}
    for field, port in ports:
        name = f"WAYSTATION_{field}".upper()
        if port in seen:
            raise StartError(f"{seen[port]} and {name} are both {port}: give one of them another port")
        seen[port] = name


def child_environment(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of every child: the launcher's own, with the addresses of this launch.

    A Temporal profile of the person's own (cloud address, key, TLS) must not leak into the embedded server's clients.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("TEMPORAL_")}
    local = ",".join(filter(None, (environ.get("NO_PROXY") or environ.get("no_proxy"), "127.0.0.1,localhost,::1")))
    return kept | {
        "NO_PROXY": local,
        "no_proxy": local,
        "PYTHONUNBUFFERED": "1",
        "TEMPORAL_ADDRESS": f"127.0.0.1:{config.ports.temporal_port}",
        "TEMPORAL_CONFIG_FILE": devnull,
        "TEMPORAL_NAMESPACE": "default",
        "TEMPORAL_TLS": "false",
        "WAYSTATION_DATABASE_URL": config.database_url,
        "WAYSTATION_HOST": config.host,
        "WAYSTATION_PORT": str(config.ports.port),
        "WAYSTATION_SCRIPTED_URL": config.scripted_url,
        "WAYSTATION_STATE_DIR": str(config.state_dir),
        "WAYSTATION_TEMPORAL_UI_URL": config.temporal_ui_url,
    }
