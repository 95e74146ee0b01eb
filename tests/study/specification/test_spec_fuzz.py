"""Whatever is done to a spec, reading it gives a study or a message: never a traceback, a hang or an import."""

import copy
import random
import sys
import time
from importlib import resources

import pytest
import yaml

from study import Spec, load_spec
from study.errors import SpecError
from study.specification import presets

MUTANTS = 1500
SECONDS = 5.0
"""That reading one may take at most: a hundred times what it does."""

VALUES = [
    *(None, True, False, 0, -1, 1, 2, 3.7, 1e-300, 1e300, 10**400, -(2**63), float("nan"), float("inf")),
    *("", " ", "1e-3", "full", "auto", "pollutant", "dmd", "nan", "\x00", "naïve ☃", "x" * 5000, "../up", "<b>&</b>"),
    *(
        "'; DROP TABLE trials;--",
        "{m}",
        "%s%n",
        "=1+1",
        "${HOME}",
        "a: b",
        "- 1",
        "!!int 3",
        "*x",
        "~",
        "no_such:Thing",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        [[1, 2], [3]],
        [1, "a", None],
        {"from": 1, "to": 3},
        {"from": 3, "to": 1},
        {1: 2},
        {"a": {}},
    ),
    *({"from": 0, "to": 1e300, "step": 1e-300}, {"from": "a", "to": "b"}, [1] * 3, list(range(200)), {"name": ["dmd"]}),
]
TOKENS = [
    *(
        "!!python/object/apply:os.system ['touch made']",
        "!!python/name:os.system",
        "!!binary x",
        "!!timestamp x",
        "!x y",
    ),
    *(
        "&a [*a, *a]",
        "*a",
        "<<: *b",
        "? [1]",
        "--- ",
        "...",
        "\t",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "|",
        ">",
        "%YAML 9.9",
    ),
    *(
        "#",
        "'",
        '"',
        "\\",
        "\u2028",
        "\ufeff",
        "1:1:1",
        "0x_",
        "2026-99-99",
        "null",
        ".nan",
        ".inf",
        "1e",
        "@",
        "`",
        ",",
    ),
]


@pytest.fixture(scope="module")
def originals() -> list[str]:
    texts = [
        resources.files("study.specification").joinpath("presets", f"{name}.yaml").read_text() for name in presets()
    ]
    return [
        *texts,
        "name: own\nproblem: {name: quadratic, condition: 10}\nnetwork: {hidden: [3]}\n"
        "training: {optimizer: sgd, epochs: 40, batch: 16}\nmethod: {accept: improve, margin: 0.1, rank: 2, m: 4}\n"
        "axes: {s: [1, 2.0], training.lr: [1e-3, 0.1], form: [state, displacement]}\nseeds: [0, 3]\n"
        "resources: {cpu: 0.5, pack: 3}\n",
    ]


def mutated_text(text: str, draw: random.Random) -> str:
    """Characters lost, doubled, swapped or made up; lines moved; tokens of YAML put where they hurt."""
    for _ in range(draw.randint(1, 4)):
        at, to = sorted(draw.randint(0, len(text)) for _ in range(2))
        kind = draw.randrange(6)
        if kind == 0:
            text = text[:at] + text[min(to, at + 10) :]
        elif kind == 1:
            text = text[:to] + text[at : at + 40] + text[to:]
        elif kind == 2:
            text = text[:at] + draw.choice(TOKENS) + text[at:]
        elif kind == 3:
            text = text[:at] + chr(draw.choice([draw.randrange(32, 127), draw.randrange(0x110000)])) + text[at + 1 :]
        elif kind == 4:
            lines = text.splitlines(keepends=True)
            draw.shuffle(lines)
            text = "".join(lines)
        else:
            text = text.replace(": ", draw.choice([":", ": - ", " : ", ": ! ", ": [ "]), 1)
    return text


def mutated_data(data: dict, draw: random.Random) -> dict:
    """Values replaced, keys lost, renamed or made up, at any depth."""
    data = copy.deepcopy(data)
    for _ in range(draw.randint(1, 4)):
        place = data
        while True:
            inner = [
                v for v in (place.values() if isinstance(place, dict) else place) if isinstance(v, dict | list) and v
            ]
            if not inner or draw.random() < 0.3:
                break
            place = draw.choice(inner)
        value = copy.deepcopy(draw.choice(VALUES))
        if isinstance(place, list):
            place[draw.randrange(len(place))] = value
            continue
        key = draw.choice(list(place))
        kind = draw.randrange(4)
        if kind == 0:
            del place[key]
        elif kind == 1:
            place[draw.choice(["", "m", "axes.m", "training.lr", f"{key}s", str(key).upper(), "name"])] = place.pop(key)
        else:
            place[key if kind == 2 else draw.choice(["m", "method.m", "seeds", "x", "axes"])] = value
        if not place:
            break
    return data


def read(source: object) -> str:
    """What came of it: study, or error; anything else is raised."""
    start_s = time.monotonic()
    try:
        assert isinstance(load_spec(source), Spec)
        said, message = "study", ""
    except SpecError as error:
        said, message = "error", str(error)
    assert time.monotonic() - start_s < SECONDS
    assert "Traceback" not in message
    assert all(len(line) < 2000 for line in message.splitlines())
    assert (said == "study") is (message == "")
    return said


def test_mutated_specs(originals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for text in originals:
        assert read(yaml.safe_load(text)) == "study"
    modules = set(sys.modules)
    draw, path, said = random.Random(0), tmp_path / "spec.yaml", []
    for number in range(MUTANTS):
        text = draw.choice(originals)
        if number % 2:
            source = mutated_data(yaml.safe_load(text), draw)
        else:
            path.write_bytes(mutated_text(text, draw).encode("utf-8", "surrogatepass"))
            source = path
        try:
            said.append(read(source))
        except Exception as error:
            raise AssertionError(f"mutant {number}: {path.read_bytes() if source is path else source!r}") from error
    assert said.count("study") > MUTANTS / 50  # some changes are harmless, or the reader refuses everything
    assert said.count("error") > MUTANTS / 2
    made = {name.partition(".")[0] for name in set(sys.modules) - modules}
    assert made <= {"problems", "study", "yaml"}
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["spec.yaml"]
