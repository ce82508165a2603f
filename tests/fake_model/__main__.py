"""`python -m tests.fake_model --port P [--log FILE]`: serve until the process is ended."""

import argparse
import pathlib

from tests.fake_model.server import FakeModel


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_model", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--log", type=pathlib.Path, help="file that gets one JSON line for each request")
    arguments = parser.parse_args()
    with FakeModel(arguments.port, arguments.log) as model:
        print(f"fake model at {model.url}", flush=True)
        model.wait()


if __name__ == "__main__":
    main()
