"""One GPU: agreement with the CPU, speed and MFU of Joint-Teaching, memory of the loss, speed of generation.

    PYTHONPATH=src python benchmarks/gpu.py --out gpu.json     # under 8 minutes; needs torch and transformers
    PYTHONPATH=src python benchmarks/gpu.py --device cpu       # small sizes, seconds

Weights are random, texts are random tokens, nothing is downloaded. Each part runs in a process of its own and is ended
after its limit; a part that fails is reported, and the others go on. Only the parts `engines` and `vllm` need the other
packages that understudy requires. Exit code 1 if a part failed or the device does not agree with the CPU.

MFU is the share of the device's peak in bfloat16: 6 x parameters x tokens of a training step (2 x for a forward pass),
by the tokens that pass each part of a network, divided by the time and the peak; null for devices that are not in
`gpu_parts.networks.PEAKS`.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Before torch is imported: asking for GPUs must not start CUDA in the process that forks the parts.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
import transformers
from benchmarks.gpu_parts.measures import AGREEMENT, PARTS
from benchmarks.gpu_parts.networks import BRIEF, FULL


def in_process(name: str, device: str, pipe: Connection, *, small: bool) -> None:
    """Sends what a part found, or the sentence of its error."""
    function, _ = PARTS[name]
    if device == "cpu":
        torch.set_num_threads(1)  # networks this small wait for a second thread longer than they compute
    try:
        pipe.send({"result": function(device, BRIEF if small else FULL)})
    except Exception as error:  # noqa: BLE001 - the other parts go on
        lines = str(error).strip().splitlines() or ["no message"]
        pipe.send({"error": f"{type(error).__name__}: {lines[0]}"})


def run_part(name: str, device: str, *, small: bool) -> dict[str, Any]:
    """The result or the error of a part, and its seconds."""
    limit = PARTS[name][1]
    ours, theirs = multiprocessing.Pipe(duplex=False)
    # Forked, because importing torch and transformers takes longer than some parts.
    process = multiprocessing.get_context("fork").Process(
        target=in_process, args=(name, device, theirs), kwargs={"small": small}
    )
    started = time.perf_counter()
    process.start()
    theirs.close()
    found: dict[str, Any] = {"error": f"not finished after {limit} seconds"}
    try:
        if ours.poll(limit):
            found = ours.recv()
    except EOFError:
        process.join()
        found = {"error": f"its process ended with code {process.exitcode}"}
    process.kill()
    process.join()
    return {**found, "seconds": round(time.perf_counter() - started, 1)}


def device_facts(device: str) -> dict[str, Any]:
    """What was measured on; asked in a process of its own."""
    facts: dict[str, Any] = {"name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    if device == "cuda":
        own = torch.cuda.get_device_properties(0)
        facts = {"name": own.name, "memory_mib": own.total_memory // 2**20, "cuda": torch.version.cuda}
    return facts


def send_facts(device: str, pipe: Connection) -> None:
    """`device_facts` in a child process."""
    pipe.send(device_facts(device))


def asked(device: str) -> dict[str, Any]:
    """The facts of the device."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=send_facts, args=(device, theirs))
    process.start()
    theirs.close()
    facts: dict[str, Any] = ours.recv()
    process.join()
    return facts


def rows(part: str, result: Any, *, place: str = "") -> Iterator[str]:  # noqa: ANN401 - whatever a part returns
    """A line for each innermost group of numbers."""
    if isinstance(result, list):
        for one in result:
            yield from rows(part, one, place=place)
        return
    numbers = {key: value for key, value in result.items() if not isinstance(value, dict)}
    if numbers:
        shown = [
            f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in numbers.items()
        ]
        yield f"{part}{place}: {', '.join(shown)}"
    for key, value in result.items():
        if isinstance(value, dict):
            yield from rows(part, value, place=f"{place}, {key}")


def failures(found: dict[str, Any]) -> list[str]:
    """Sentences on parts that failed and pairs that do not agree."""
    failed = [f"{name}: {one['error']}" for name, one in found["parts"].items() if "error" in one]
    agreed = found["parts"].get("correctness", {}).get("result", {})
    failed += [
        f"{pair} on {found['device']} differs from the CPU by more than {AGREEMENT}: {facts}"
        for pair, facts in agreed.items()
        if not facts["holds"]
    ]
    return failed


def main() -> int:
    """Runs the parts, prints a line for each measurement and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: cuda where there is one")
    parser.add_argument("--small", action="store_true", help="tiny networks; always on a CPU")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--out", type=Path, help="a file for the JSON object")
    arguments = parser.parse_args()
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    small = arguments.small or device == "cpu"
    found: dict[str, Any] = {
        "device": device,
        "small": small,
        **asked(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "parts": {},
    }
    for name in arguments.part or PARTS:
        found["parts"][name] = run_part(name, device, small=small)
        one = found["parts"][name]
        for line in [f"{name}: {one['error']}"] if "error" in one else rows(name, one["result"]):
            print(line, flush=True)
    print(json.dumps(found))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for line in (failed := failures(found)):
        print(line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
