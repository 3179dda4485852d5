"""Prints what `doctor` found, as tables."""

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from understudy.cli.store import size

if TYPE_CHECKING:
    from understudy.pipeline.installation import Installation
    from understudy.pipeline.machine import MachineFacts

WIDTH = 110
"""Width in columns without a terminal."""


def print_doctor(found: "Installation", machine: "MachineFacts | None") -> None:
    """Prints packages, extras with the commands that install them, and the machine unless it is unknown."""
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(f"understudy {found.understudy}, Python {found.python.installed} (needs {found.python.required})")
    packages = Table("Package", "Needed", "Installed", "Tested", "", box=box.SIMPLE_HEAD)
    for one in found.packages:
        state = Text("ok", "green") if one.fits else Text("missing" if one.installed is None else "not allowed", "red")
        packages.add_row(one.name, one.required or "any", one.installed or "", one.tested or "", state)
    console.print(packages)
    extras = Table("Extra", "", Column("Lacks", max_width=30), "Install with", box=box.SIMPLE_HEAD)
    for extra in found.extras:
        state = Text("missing", "yellow") if extra.missing else Text("installed", "green")
        lacks = ", ".join(extra.missing)
        extras.add_row(extra.name, state, lacks, Text(extra.install if lacks else "", no_wrap=True))
    console.print(extras)
    if found.folder:
        console.print(f"The commands must run in {found.folder}", soft_wrap=True)
    if machine is not None:
        _print_machine(console, machine)


def _print_machine(console: Console, machine: "MachineFacts") -> None:
    table = Table("Machine", "", box=box.SIMPLE_HEAD)
    for name, value in _machine_rows(machine).items():
        table.add_row(name, value)
    console.print(table)
    engines = Table("Engine", "Library", Column("Types of weights", max_width=60), box=box.SIMPLE_HEAD)
    for one in machine.engines:
        types = "\n".join(f"{device}: {', '.join(names)}" for device, names in one.types.items())
        library = f"{one.library} {one.version}" if one.version else f"{one.library} is not installed"
        engines.add_row(one.name, library, types or Text(one.unavailable or "", "yellow"))
    console.print(engines)
    for note in machine.notes:
        console.print(f"note: {note}", soft_wrap=True)


def _machine_rows(machine: "MachineFacts") -> dict[str, str]:
    gpus = [f"{one.name}, {size(one.memory_bytes)}, compute {one.compute_capability}" for one in machine.gpus]
    bfloat16 = "with" if machine.bfloat16_instructions else "without"
    precision = machine.precision
    if precision == "float32" and machine.bfloat16_instructions:
        precision += "; bf16 may be faster here for large networks, not for small ones"
    return {
        "processor": f"{machine.processor}, {bfloat16} bfloat16 instructions",
        "cores": f"{machine.cores}, of which runs use {machine.threads}",
        "memory": f"{size(machine.memory_bytes)}, {size(machine.free_memory_bytes)} free",
        "disk": f"{size(machine.free_disk_bytes)} free at {machine.store}",
        "GPUs": "\n".join(gpus) or "none",
        "CUDA of torch": machine.cuda or "none",
        "device": machine.device,
        "precision: auto": precision,
    }
