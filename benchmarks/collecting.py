"""`python -m benchmarks.collecting`: the product's own worker, which also frees its garbage when told to."""

import worker
from benchmarks.garbage import collect_on_signal

if __name__ == "__main__":
    collect_on_signal()
    worker.main()
