"""Worker processes start fast, because the store and the executors load no heavy library."""

import subprocess
import sys

HEAVY = {"torch", "transformers", "ctranslate2", "numpy", "pyarrow", "tokenizers"}


def test_store_and_executors_load_no_heavy_library() -> None:
    """A worker loads what its stages need, once the number of threads is set."""
    script = (
        "import sys, understudy.executors.local, understudy.executors.processes, understudy.store\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
