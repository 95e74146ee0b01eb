"""A study's folder may come from anybody: reading it runs nothing, and nothing in it leads out of it."""

import inspect
import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from study import open_study, run
from study.cli import figures, report, status
from study.errors import SpecError, UserError
from tests.study.cli import _small

WATCH = """
import sys

def watch(event, arguments):
    if event in ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.startfile"):
        note(event, arguments)
    elif event == "import" and str(arguments[0]).startswith("evil"):
        note(event, arguments)
    elif event == "open" and isinstance(arguments[0], str) and "forbidden" in arguments[0]:
        note(event, arguments)

def note(event, arguments):
    with open(WATCHED, "a") as file:
        print(event, arguments, file=file)

sys.addaudithook(watch)
"""
EVIL = "open({made!r}, 'w').write('run')\nclass Evil: pass\n"


class Bomb:
    """What a pickle runs when it is loaded."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.system, (f"touch {self.made}",)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harmless") / "out"
    run(_small.SPEC, folder, executor="inline")
    return folder


@pytest.fixture
def trapped(harmless, tmp_path):
    """A study's folder full of traps, each of which would make the file ``made``."""
    folder, made = shutil.copytree(harmless, tmp_path / "trapped"), tmp_path / "made"
    (folder / "evil.py").write_text(EVIL.format(made=str(made)))
    bomb = pickle.dumps(Bomb(str(made)))
    for name in ("record.pkl", "tuner.pkl", "trainable.pkl", "study.pkl", "packs/bomb.pkl", "packs/evil.parquet"):
        (folder / name).write_bytes(bomb)
    tag = f"!!python/object/apply:os.system ['touch {made}']\n"
    for name in ("spec.yaml", "best.yaml", "study.yaml"):
        (folder / name).write_text(tag)
    (folder / "matplotlibrc").write_text("backend: module://evil\n")
    (folder / "conftest.py").write_text(EVIL.format(made=str(made)))
    named = {"problem": {"name": "evil:Evil"}, "method": {"name": "evil:Evil"}}
    with closing(sqlite3.connect(folder / "study.db")) as database, database:
        rows = database.execute(
            "SELECT study_user_attribute_id, value_json FROM study_user_attributes WHERE key = 'spec'"
        )
        for row, value in rows.fetchall():
            changed = json.dumps(json.loads(value) | named)
            database.execute(
                "UPDATE study_user_attributes SET value_json = ? WHERE study_user_attribute_id = ?", (changed, row)
            )
        database.execute(
            "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'pack' AND trial_id = "
            "(SELECT max(trial_id) FROM trial_user_attributes)",
            (json.dumps("../../forbidden"),),
        )
    return folder


@pytest.fixture
def watched(tmp_path):
    """Run a command in a process of its own that notes down whatever it should not do."""
    hook, notes = tmp_path / "hook", tmp_path / "notes"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(WATCH.replace("WATCHED", repr(str(notes))))
    notes.touch()
    program = str(Path(sys.executable).with_name("dmd-study"))

    def start(folder, *arguments):
        # modules of the folder could be imported, if somebody did
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(hook), str(folder)])}
        return subprocess.Popen(
            [program, *arguments], cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    start.notes = notes
    return start


COMMANDS = {
    "status": ["status", "."],
    "table": ["table", ".", "--to", "out.csv"],
    "heatmap": ["heatmap", "."],
    "figures": ["figures", "."],
    "sensitivity": ["sensitivity", "."],
    "compare": ["compare", ".", "."],
    "best": ["best", "."],
    "report": ["report", "."],
    "dashboard": ["dashboard", ".", "--port", "0"],
}


def test_the_commands_below_are_all_that_read():
    found = {
        name
        for module in (status, figures, report)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    assert found == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_reading_a_booby_trapped_folder_runs_nothing(trapped, watched, tmp_path, command):
    process = watched(trapped, *command)
    try:
        if command[0] == "dashboard":
            address = process.stdout.readline().split()[0]
            for page in ("", "api/studies", "api/studies/1", "api/studies/2"):
                with urllib.request.urlopen(address + page, timeout=60) as answer:
                    answer.read()
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    expected = {"dashboard": 130, "sensitivity": 2}.get(command[0], 0)  # a grid with a hole has no sensitivities
    assert process.returncode == expected, err
    assert "Traceback" not in err
    assert not (tmp_path / "made").exists()
    assert watched.notes.read_text() == ""
    if command[0] == "status":
        assert "small: 4 replicates: 3 finished, 1 missing" in out  # a pack of that name is none


def test_the_watch_sees_what_it_watches_for(trapped, watched, tmp_path):
    """Each trap does go off where somebody steps on it, and is noted down."""
    (tmp_path / "forbidden.parquet").touch()
    code = "import pickle, pathlib, os; pickle.loads(pathlib.Path('record.pkl').read_bytes()); import evil; "
    code += "open('../forbidden.parquet')"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'hook'}{os.pathsep}{trapped}"}
    subprocess.run([sys.executable, "-c", code], cwd=trapped, env=environment, check=True)
    assert (tmp_path / "made").exists()
    noted = watched.notes.read_text()
    assert all(event in noted for event in ("pickle.find_class", "os.system", "import", "open"))


# names

MARKUP = ["<script>alert(1)</script>", "x'; DROP TABLE trials;--", "../../up", "$\\frac{1}$", "[bold red]x[/]", "a\nb"]


@pytest.mark.parametrize("name", [*MARKUP, "/etc/passwd", "..", ".", "", "a/b", "a\\b", "-x", "x" * 65, "a\x00b"])
def test_a_study_cannot_be_named_out_of_its_folder(raw, tmp_path, name, monkeypatch, contents):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="name: must be 1 to 64 letters"):
        run(raw({"name": name}), executor="inline")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("name", MARKUP)
def test_a_record_with_another_kind_of_name_is_refused(harmless, tmp_path, name):
    folder = shutil.copytree(harmless, tmp_path / "out")
    with closing(sqlite3.connect(folder / "study.db")) as database, database:
        database.execute("UPDATE studies SET study_name = replace(study_name, 'small', ?)", (name,))
    with pytest.raises(UserError, match="a name that dmd-study gives to none"):
        open_study(folder)


BROKEN = {
    "axes are a list": {"axes": [1]},
    "an axis that is markup": {"axes": {"<img src=x onerror=alert(1)>": [1]}},
    "an axis without values": {"axes": {"m": []}},
    "seeds are text": {"seeds": "12"},
    "a method that is none": {"method": None},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_record_whose_spec_was_changed_by_hand_is_refused(harmless, tmp_path, change):
    folder = shutil.copytree(harmless, tmp_path / "out")
    with closing(sqlite3.connect(folder / "study.db")) as database, database:
        spec = json.dumps(open_study(harmless).spec | change)
        database.execute("UPDATE study_user_attributes SET value_json = ? WHERE key = 'spec'", (spec,))
    with pytest.raises(UserError, match="changed by hand"):
        open_study(folder)


def test_trials_that_others_add_are_left_alone(harmless, tmp_path):
    import optuna

    folder = shutil.copytree(harmless, tmp_path / "out")
    before = open_study(folder)
    done, table = before.done(), before.table()
    seed = {"params": {"seed": 0}, "distributions": {"seed": optuna.distributions.IntDistribution(0, 0)}}
    ours = {"status": "finished", "pack": "0" * 16}
    for strange in (
        {},
        {**seed, "user_attrs": {}},
        {**seed, "user_attrs": ours | {"pack": "../../x"}},
        {**seed, "user_attrs": ours | {"pack": 7}},
        {**seed, "user_attrs": ours | {"axes": "{"}},
        {**seed, "user_attrs": ours | {"axes": "[1]"}},
        {**seed, "user_attrs": ours | {"status": None}},
    ):
        before.study.add_trial(optuna.trial.create_trial(value=0.0, **strange))
    after = open_study(folder)
    assert after.done() == done
    assert after.table().equals(table)


def test_text_of_a_spec_is_text_in_pictures_and_tables(raw, tmp_path, monkeypatch):
    """The strings that a rule of one's own takes may hold anything; so may its axes, and their pictures."""
    from study import write_figures
    from study.cli import results
    from study.cli.printing import print_status

    (tmp_path / "wordy.py").write_text(
        "from dataclasses import dataclass\nfrom accel import DMD\n\n@dataclass(frozen=True)\nclass Wordy:\n"
        "    word: str = ''\n\n    def __call__(self, window, s):\n        return DMD(1e-6)(window, s)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = raw({"method": {"name": "wordy:Wordy"}, "axes": {"m": [4], "s": [2, 5], "word": MARKUP}, "seeds": 1})
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    record = run(str(tmp_path / "spec.yaml"), tmp_path / "out", executor="inline")
    assert list(dict.fromkeys(record.table()["word"])) == MARKUP
    print_status(record)
    results.best(record)
    write_figures(record, facet="word")
    drawn = {path.stem: path.read_text() for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert {"heatmap", "slices", "sensitivity", "curves", "jumps", "plane"} <= set(drawn)
    assert not [name for name, svg in drawn.items() if "<script" in svg]
    assert yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())["study"] == "small"


def test_yaml_of_a_spec_runs_nothing(raw, tmp_path):
    made = tmp_path / "made"
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw()) + f"seeds: !!python/object/apply:os.system ['touch {made}']\n")
    with pytest.raises(SpecError, match=r"could not determine a constructor|given twice"):
        run(str(path), tmp_path / "out", executor="inline")
    assert not made.exists()
    assert not (tmp_path / "out").exists()


def test_a_dashboard_says_when_it_is_open_to_the_network(harmless, monkeypatch, capsys):
    import dashboards
    from study import cli

    monkeypatch.setattr(dashboards, "serve_optuna", lambda url, host, port, ready, **_: ready(f"http://{host}:{port}/"))
    for host, open_ in (("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)):
        monkeypatch.setattr(sys, "argv", ["dmd-study", "dashboard", str(harmless), "--host", host])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
        assert ("whoever reaches this machine" in capsys.readouterr().err) is open_


def test_a_folder_full_of_files_is_not_slow_to_refuse(tmp_path):
    for number in range(2000):
        (tmp_path / f"{number}.pkl").touch()
    start_s = time.monotonic()
    with pytest.raises(UserError, match="holds no study"):
        open_study(tmp_path)
    assert time.monotonic() - start_s < 5  # a hundred times what it takes
