"""Every setting of a recipe is in the key of a stage that it determines, or is listed here with the reason."""

import copy
import json
import pickle
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import pytest
from tests.api_teacher.server import RequestLog, serve
from tests.pipeline.recipe_leaves import changed, leaves, plain
from tests.pipeline.recipe_world import CODE, World

from understudy.config.decoding import Decoding, PoolDecoding
from understudy.config.distil import StudentSampling
from understudy.config.objectives import AnyObjective
from understudy.config.pool_selection import Selection
from understudy.config.read import check_recipe
from understudy.config.recipe import Recipe
from understudy.errors import DataError, ModelError
from understudy.pipeline.prepare import data_stage

TRACKER = "a tracker receives numbers and changes none"
EXEMPT = {
    "scratch": {
        "task.bertscore": "only metric bertscore has an encoder",
        "tracker": TRACKER,
        "evaluation.price_per_hour": "what a machine costs changes no result",
    },
    "pretrained": {
        "task.checker": "only slot_error_rate and metrics of one's own have a checker",
        "tracker": TRACKER,
        "evaluation.price_per_hour": "what a machine costs changes no result",
    },
    "api": {
        "tracker": TRACKER,
        "task.bertscore": "only metric bertscore has an encoder",
        "task.checker": "only slot_error_rate and metrics of one's own have a checker",
        "student.finetune": "there are no labels, so there is no baseline",
        "teacher.endpoint.key": "who pays changes no response",
        "teacher.endpoint.per_request": "how texts are divided into requests changes no text",
        "teacher.endpoint.concurrency": "a limit on requests",
        "teacher.endpoint.requests_per_minute": "a limit on requests",
        "teacher.endpoint.timeout_s": "a limit on requests",
        "teacher.endpoint.length_parameter": "a name in the request",
        "teacher.endpoint.attempts": "a limit on requests",
        "teacher.endpoint.smoke_inputs": "the order of requests",
        "teacher.endpoint.batch": "how requests are sent",
        "teacher.endpoint.price": "what a response costs does not change it",
        "teacher.endpoint.budget": "a limit on requests",
        "evaluation.price_per_hour": "what a machine costs changes no result",
        "pseudo_targets.min_finished": "the response filter judges an API's texts one by one",
        "pseudo_targets.shard_inputs": "responses are not generated in shards",
    },
}
"""Recipe -> path of settings that are in no key -> the reason. A path stands for all below it."""


RELATIONS = "a teacher whose positions are compared with the student's has no prompt of its own"
ONE_VALUE = {
    "distil.final_finetune.keep_weights": "the final fine-tuning keeps the best weights",
    "student.prune.from": "only the teacher can be pruned",
    "teacher.prompt": f"{RELATIONS} (test_teacher_prompt.py has its keys)",
    "teacher.system": RELATIONS,
    "teacher.demonstrations": RELATIONS,
    "teacher.template": "an encoder-decoder reads the source apart from the target",
}
"""Settings that have one value -> the reason."""
UNIONS: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    "distil.objective": (AnyObjective, {"custom": {"function": CODE}}),
    "distil.student_samples.share": (StudentSampling.model_fields["share"].annotation, {}),
    "distil.student_samples.decoding": (Decoding, {"k_beams": {"beams": 3}}),
    "pseudo_targets.decoding": (PoolDecoding, {"k_beams": {"beams": 3}, "diverse_beam": {"groups": 3}}),
    "pseudo_targets.select": (Selection, {name: {"n": 1} for name in ("mbr", "most_probable", "agreement")}),
    "evaluation.decoding": (Decoding, {"k_beams": {"beams": 3}}),
    "evaluation.dev_decoding": (Decoding, {"k_beams": {"beams": 3}}),
}
"""Path of a tagged union -> the union, and settings of its members that have no default."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One folder and one server for all tests."""
    server = serve(RequestLog(share=0.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_KEY", "any")
        patch.setenv("OTHER_KEY", "any")
        # A machine may have no compiler, and keys do not depend on it.
        patch.setattr("understudy.pipeline.model_checks.require_compiler", lambda _device: None)
        yield World(tmp_path_factory.mktemp("keys"), f"http://127.0.0.1:{server.server_address[1]}/v1")
    server.shutdown()
    server.server_close()


def exempt(path: str, paths: Mapping[str, str]) -> bool:
    """Whether a path or a section that it is in is listed."""
    return any(path == own or path.startswith(f"{own}.") for own in paths)


def same(world: World, recipe: Recipe, before: set[str]) -> bool:
    """Whether a recipe has these stages; one whose data are refused must have another stage of data."""
    try:
        return world.keys(recipe) == before
    except DataError:
        return data_stage(recipe).folder_name in before


@dataclass(frozen=True)
class Walk:
    """What became of the leaves of one recipe."""

    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    """Another value gives the same stages."""
    refused: tuple[str, ...]
    """No other value is valid while the rest stays."""


def kind_of_change(world: World, other: Recipe | None, before: set[str]) -> str:
    """What became of one leaf; models may refuse a value that is valid for models of another kind."""
    try:
        return "refused" if other is None else "unchanged" if same(world, other, before) else "changed"
    except ModelError:
        return "refused"


def walk(world: World, recipe: Recipe, start: str = "") -> Walk:
    """Changes every leaf of a recipe in turn, or those whose path begins with `start`."""
    before = world.keys(recipe)
    found: dict[str, list[str]] = {"changed": [], "unchanged": [], "refused": []}
    for leaf in leaves(recipe):
        if leaf[0].startswith(start):
            other = changed(recipe, leaf, world.given())
            found[kind_of_change(world, other, before)].append(leaf[0])
    return Walk(**{kind: tuple(paths) for kind, paths in found.items()})


@pytest.fixture(scope="module")
def walks(world: World) -> dict[str, Walk]:
    """All recipes, walked."""
    return {name: walk(world, recipe) for name, recipe in world.recipes.items()}


@pytest.mark.parametrize("name", EXEMPT)
def test_every_setting_is_in_a_key(walks: dict[str, Walk], name: str) -> None:
    """Settings that change no key are exactly the exempt ones."""
    own = walks[name]

    assert [path for path in own.unchanged if not exempt(path, EXEMPT[name])] == []
    assert [path for path in EXEMPT[name] if not any(exempt(one, {path: ""}) for one in own.unchanged)] == []
    assert len(own.changed) > 50


def test_every_setting_is_changed_in_some_recipe(walks: dict[str, Walk]) -> None:
    """But for those that have one value."""
    covered = [path for own in walks.values() for path in (*own.changed, *own.unchanged)]
    refused = {path for own in walks.values() for path in own.refused}

    assert {path for path in refused if not any(exempt(one, {path: ""}) for one in covered)} == set(ONE_VALUE)


@pytest.mark.parametrize("path", UNIONS)
def test_the_settings_of_every_kind_are_in_a_key(world: World, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of decodings, selections, objectives and shares: each member of the union is requested in turn."""
    monkeypatch.chdir(world.folder)
    union, required = UNIONS[path]
    members = get_args(get_args(union)[0] if get_origin(union) is Annotated else union)
    *sections, key = path.split(".")
    keys = set()
    for member in members:
        kind = member.model_fields["kind"].default
        data = plain(world.recipes["scratch"])
        data["pseudo_targets"]["select"] = {"kind": "all"}
        data["distil"]["teacher_logprobs"] = {"kind": "dense"}  # no objective is refused
        part = data
        for section in sections:
            part = part[section]
        part[key] = {"kind": kind, **required.get(kind, {})}
        if key == "decoding" and sections == ["pseudo_targets"]:
            part["per_input"] = 3 if kind in {"sampling", "k_beams", "diverse_beam"} else 1
        recipe = check_recipe(data)
        own = walk(world, recipe, f"{path}.")
        keys.add(frozenset(world.keys(recipe)))

        assert own.unchanged == ()
        assert {one for one in own.refused if not one.endswith(".kind")} == set()
    assert len(keys) == len(members)


def test_equal_recipes_have_equal_stages(world: World) -> None:
    """Also where the keys of the file are in another order, and in a store that holds nothing."""
    for name, recipe in world.recipes.items():
        again = check_recipe(shuffled(plain(recipe)))

        assert again == recipe
        assert world.keys(again, place=f"again-{name}") == world.keys(recipe)


def test_stages_do_not_depend_on_where_files_lie(world: World) -> None:
    """The same data and checkpoints in another folder."""
    shutil.copytree(world.folder / "data", world.folder / "moved")
    for name in ("pretrained", "api"):
        text = json.dumps(plain(world.recipes[name]))
        moved = check_recipe(json.loads(text.replace(f"{world.folder}/data", f"{world.folder}/moved")))

        assert moved != world.recipes[name]
        assert world.keys(moved) == world.keys(world.recipes[name])


def test_stages_depend_on_what_is_in_files(world: World) -> None:
    """Another line, another weight: the path says nothing."""
    shutil.copytree(world.folder / "data", world.folder / "edited")
    text = json.dumps(plain(world.recipes["pretrained"])).replace(f"{world.folder}/data", f"{world.folder}/edited")
    recipe = check_recipe(json.loads(text))
    keys = [world.keys(recipe)]
    for file, old, new in (
        ("labeled.jsonl", "| temp", "| temperature"),
        ("test.jsonl", "| temp", "| temperature"),
        ("model/tokenizer_config.json", "{", "{ "),
    ):
        path = world.folder / "edited" / file
        path.write_text(path.read_text().replace(old, new, 1))
        keys.append(world.keys(recipe))

    assert len(set(map(frozenset, keys))) == len(keys)


def test_stages_are_values(world: World) -> None:
    """They are hashable, equal to themselves after pickling, and keep their keys."""
    for recipe in world.recipes.values():
        stages = world.stages(recipe)
        again = pickle.loads(pickle.dumps(stages))  # noqa: S301 - its own stages

        assert again == stages
        assert [stage.key for stage in again] == [stage.key for stage in stages]
        assert len(set(stages) | set(again)) == len(stages)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("dataset", "other"),
        ("config", "en"),
        ("revision", "v2"),
        ("splits.labeled", "train[:5]"),
        ("splits.unlabeled", "train[5:]"),
        ("splits.dev", "test"),
        ("splits.test", "validation"),
        ("source", "{question}"),
        ("target", "{question}"),
        ("incomplete", "drop"),
    ],
)
def test_every_setting_of_a_hub_data_set_is_in_the_key_of_the_data(path: str, value: str) -> None:
    """Nothing is downloaded for the key."""
    hub = {
        "dataset": "owner/name",
        "splits": {"labeled": "train", "dev": "validation", "test": "test"},
        "source": "{document}",
        "target": "{summary}",
    }
    *sections, key = path.split(".")
    other: dict[str, Any] = copy.deepcopy(hub)
    (other[sections[0]] if sections else other)[key] = value
    recipes = [
        check_recipe({"name": "hub", "task": {"hub": own}, "teacher": {"model": "m"}, "student": {"model": "m"}})
        for own in (hub, other)
    ]

    assert data_stage(recipes[0]).key != data_stage(recipes[1]).key


def shuffled(data: Any) -> Any:  # noqa: ANN401 - plain data
    """The same data with the keys of every mapping in reverse order."""
    if isinstance(data, dict):
        return {name: shuffled(data[name]) for name in reversed(data)}
    return data
