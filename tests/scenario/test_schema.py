# SPDX-License-Identifier: MIT
"""The schema for editors says the same as the table that the loader checks with."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import jsonschema
import pytest

from fakeproc.scenario.check import problems
from fakeproc.scenario.keys import TABLES
from fakeproc.scenario.schema import render, shipped_text


def test_the_shipped_schema_is_that_of_the_table() -> None:
    assert shipped_text() == render(), "run python -m fakeproc.scenario.schema"


def test_it_is_a_schema_of_its_dialect() -> None:
    jsonschema.Draft7Validator.check_schema(json.loads(shipped_text()))


def test_every_key_for_people_has_a_meaning() -> None:
    for name, table in TABLES.items():
        if name != "switches" and not name.startswith("sysctl."):
            assert all(key.meaning for key in table.keys.values()), name


PROCESS = "[[process]]\nname = 'a'\n"
FILES = {
    "": True,
    "machine.ram = '1G'": True,
    "machine.ram = '1.5GiB'": True,
    "machine.ram = '1Q'": False,
    "machine.ram = 5": False,
    "machine.rma = '1G'": False,
    "machine.end = '5s'": True,
    "machine.end = '5'": False,
    "machine.cpus = 1025": False,
    "machine.cpus = true": False,
    "machine.nodes = ['1G', '2G']": True,
    "sysctl.vm.swappiness = 5": True,
    "sysctl.vm.swappiness = 201": False,
    "sysctl.vm.swap = 5": False,
    "process = 5": False,
    PROCESS: True,
    PROCESS + "[[process.process]]\nname = 'b'\nthread = [{ tid = 5 }]": True,
    PROCESS + "[[process.process]]\nnam = 'b'": False,
    PROCESS + "[[process.process]]\nuid = 5": False,
    PROCESS + "vm = 'mine'": False,
    PROCESS + "hidden = 1": False,
    PROCESS + "behaviour = { kind = 'grow', rate = '5M/s' }": True,
    PROCESS + "behaviour = { kind = 'groan' }": False,
    PROCESS + "hold = 'stuck'": True,
    PROCESS + "hold = 'struck'": False,
    "[[event]]\nat = '5s'\ndo = 'trigger'": True,
    "[[event]]\nat = '5s'\ndo = ['trigger']": True,
    "[[event]]\nat = '5s'\ndo = 5": False,
    "[[event]]\ndo = 'trigger'": False,
    "[[memcg]]\nlimit = '5M'": False,
    "[[memcg]]\npath = '/a'\nlimit = '5M'": True,
    "[[swap]]\nname = 'a'\nsize = '5M'\npriority = 1.5": False,
}


@pytest.mark.parametrize("text", FILES)
def test_schema_and_loader_agree(text: str) -> None:
    data: dict[str, Any] = tomllib.loads(f"version = 1\n{text}\n")
    validator = jsonschema.Draft7Validator(json.loads(shipped_text()))
    assert validator.is_valid(data) == FILES[text]
    assert (not list(problems(data))) == FILES[text]
