"""The exported contracts are those of the code, and whole: every subject is described, every reference leads somewhere."""

import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest

from schemas.invocation import SignedRequest
from streams import subjects

HERE = Path(__file__).parents[2] / "docs" / "contracts"


@pytest.fixture(scope="module")
def export():
    spec = importlib.util.spec_from_file_location("contracts_export", HERE / "export.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_current(export):
    for name, content in export.contracts().items():
        assert (HERE / name).read_text() == export.text(content), f"{name}: run python docs/contracts/export.py"


def test_every_family_of_subjects_is_described(export):
    described = {channel.subject.prefix for channel in export.CHANNELS}
    families = {value.prefix for value in vars(subjects).values() if isinstance(value, subjects.Subject)}
    pushed = {family for family in families if family.startswith("weft.push.")} - {"weft.push.drill"}
    elsewhere = pushed | {"weft.revocation.entry", "weft.revocation.beacon"}
    assert families - elsewhere - {"weft.claimed"} == described


def test_references_lead_somewhere(export):
    files = export.contracts()
    for channel in files["asyncapi.json"]["channels"].values():
        for message in channel["messages"].values():
            reference = message["payload"]["properties"]["data"].get("$ref")
            if reference is not None:
                file, _, name = reference.removeprefix("./").partition("#/$defs/")
                assert name in files[file]["$defs"]


def test_the_schemas_judge_as_the_models_do(export):
    schema = export.json_schemas()["invocation.schema.json"]
    checker = jsonschema.Draft202012Validator({**schema, "$ref": "#/$defs/SignedRequest"})
    good = {"id": "r1", "tool": "web-search", "actions": ["search"], "purpose": "web.search.execute", "iat": 1_800_000_000}
    SignedRequest.model_validate_json(json.dumps(good))
    assert checker.is_valid(good)
    for bad in ({**good, "more": 1}, {**good, "actions": []}, {**good, "iat": "now"}):
        assert not checker.is_valid(bad)
