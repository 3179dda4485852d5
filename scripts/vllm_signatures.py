"""Reads the signatures that the engine `vllm` uses from vLLM's source tree, without importing it.

    pip download --no-deps --no-binary :all: vllm    # or a checkout of its repository
    python scripts/vllm_signatures.py vllm-0.33.0 tests/generation/vllm_signatures.json

The tests of the engine bind every call to these signatures, so that a machine without a GPU notices an argument that
vLLM does not have. Run it again for a newer version and read the difference.
"""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

CALLABLES = {
    "LLM.__init__": "entrypoints/llm.py",
    "LLM.generate": "entrypoints/llm.py",
    "LLM.reset_prefix_cache": "entrypoints/llm.py",
    "RequestOutput.__init__": "outputs.py",
    "InprocClient.shutdown": "v1/engine/core_client.py",
    "cleanup_dist_env_and_memory": "distributed/parallel_state.py",
}
"""Function or method -> the file of the package that defines it."""
RECORDS = {
    "EngineArgs": "engine/arg_utils.py",
    "SamplingParams": "sampling_params.py",
    "TokensPrompt": "inputs/llm.py",
    "CompletionOutput": "outputs.py",
    "Logprob": "logprobs.py",
}
"""Class whose annotated fields are its arguments -> the file; the fields of `LLM`'s `**kwargs` are `EngineArgs`."""
VARIABLES = ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_NO_USAGE_STATS", "VLLM_LOGGING_LEVEL")
REGISTRY = "model_executor/models/registry.py"

Parameter = dict[str, str | None]


def definition(tree: ast.Module, name: str) -> ast.FunctionDef | ast.ClassDef:
    """The class, function or method of this name, outside of nested scopes."""
    body: list[ast.stmt] = tree.body
    found: ast.stmt | None = None
    for part in name.split("."):
        found = next(node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part)
        body = found.body
    assert isinstance(found, ast.FunctionDef | ast.ClassDef)
    return found


def parameters(function: ast.FunctionDef) -> list[Parameter]:
    """Name, kind (as in `inspect`) and default of each parameter but `self`."""
    own = function.args
    ordered = [*own.posonlyargs, *own.args]
    defaults = [None] * (len(ordered) - len(own.defaults)) + [ast.unparse(value) for value in own.defaults]
    found: list[Parameter] = [
        {"name": one.arg, "kind": "POSITIONAL_OR_KEYWORD", "default": default}
        for one, default in zip(ordered, defaults, strict=True)
        if one.arg != "self"
    ]
    found += [
        {"name": one.arg, "kind": "KEYWORD_ONLY", "default": None if default is None else ast.unparse(default)}
        for one, default in zip(own.kwonlyargs, own.kw_defaults, strict=True)
    ]
    if own.kwarg:
        found.append({"name": own.kwarg.arg, "kind": "VAR_KEYWORD", "default": None})
    return found


def fields(record: ast.ClassDef) -> list[Parameter]:
    """The annotated fields of a class with their defaults; those of a TypedDict that may be absent have `...`."""
    found: list[Parameter] = []
    for node in record.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = ast.unparse(node.value) if node.value else None
            if default is None and "NotRequired" in ast.unparse(node.annotation):
                default = "..."
            found.append({"name": node.target.id, "kind": "POSITIONAL_OR_KEYWORD", "default": default})
    return found


def text_architectures(tree: ast.Module) -> list[str]:
    """The classes of transformers for text generation that vLLM has, also through its use of transformers."""
    names: set[str] = set()
    for node in tree.body:
        target = getattr(node, "target", None) or next(iter(getattr(node, "targets", [])), None)
        if isinstance(target, ast.Name) and target.id in {
            "_TEXT_GENERATION_MODELS",
            "_TRANSFORMERS_SUPPORTED_MODELS",
        }:
            names |= {
                one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)
            }
    return sorted(name for name in names if re.search(r"ForCausalLM$|LMHeadModel$", name))


def signatures(folder: Path) -> dict[str, Any]:
    """Everything above of one source tree."""
    package = folder / "vllm"
    trees = {
        path: ast.parse((package / path).read_text(encoding="utf-8"))
        for path in {*CALLABLES.values(), *RECORDS.values(), REGISTRY}
    }
    version = re.search(r"^Version: (\S+)", (folder / "PKG-INFO").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    environment = (package / "envs.py").read_text(encoding="utf-8")
    callables: dict[str, list[Parameter]] = {}
    for name, path in CALLABLES.items():
        function = definition(trees[path], name)
        assert isinstance(function, ast.FunctionDef)
        callables[name] = parameters(function)
    for name, path in RECORDS.items():
        record = definition(trees[path], name)
        assert isinstance(record, ast.ClassDef)
        callables[name] = fields(record)
    return {
        "version": version[1],
        "callables": callables,
        "variables": [name for name in VARIABLES if f'"{name}"' in environment],
        "architectures": text_architectures(trees[REGISTRY]),
    }


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    found = signatures(source)
    rows = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in found.pop("callables").items()]
    rest = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items()]
    parts = ",\n".join([*rest, '"callables": {\n' + ",\n".join(rows) + "}"])  # a line for each: the difference is read
    target.write_text("{" + parts + "}\n", encoding="utf-8")
    print(f"vLLM {found['version']}: {target}")
