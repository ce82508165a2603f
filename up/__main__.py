"""`make up`: start everything, say how to use it, keep it running until Ctrl-C."""

import os
import sys

from up import config, launch, ports, services, state_folder
from up.errors import StartError
from up.greeting import greeting
from up.supervisor import Supervisor


def main() -> int:
    """Run until a signal ends it.

    Returns:
        Exit code: 0 after Ctrl-C or SIGTERM, 2 where the person must change something, 1 where a part failed.
    """
    try:
        found = config.read()
        with state_folder.held(found.state_dir):
            ports.require_free(found)
            run(found)
    except StartError as error:
        sys.stderr.write(f"waystation: {error}\n")
        return error.code
    return 0


def run(found: config.Config) -> None:
    """Launch with all services.

    Raises:
        StartError: a service did not start.
    """

    def greet(supervisor: Supervisor) -> str:
        pids = {name: supervisor.pid(name) for name in ("worker", "api", "temporal")}
        return greeting(found, **pids)

    launch.say("starting; the first time takes a few seconds more")
    environment = config.child_environment(found, os.environ)
    launch.launch(services.all_services(found), found.state_dir / "logs", environment, greet)


if __name__ == "__main__":
    sys.exit(main())
