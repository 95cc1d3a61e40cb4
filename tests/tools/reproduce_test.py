"""tools/reproduce against the real program: rows at toy size, resumed, paired, kept.

The environment's PERGRAD says where the program is.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ["PERGRAD"]

ROWS = """
from recipes_of_the_papers import *
def toy(**sections):
    return changed({"data": DATA["cifar10"] | {"path": "toy", "examples": 200},
                    "model": {"name": "linear"}, "augment": {"base": 1},
                    "privacy": {"epsilon": 8.0, "delta": 1e-3, "clip_norm": 1.0},
                    "train": {"expected_batch_size": 20, "steps": 6, "learning_rate": 1.0, "ema_decay": 0.9,
                              "checkpoint_every": 2, "evaluate_every": 4, "seed": 1}, "noise": {"source": "secure"}}, **sections)
ROWS = {row.name: row for row in (
    Row("own/small_one", "one", toy(), 10.0, 0.5),
    Row("own/small_two", "two", toy(augment={"base": 2, "mix": 2}), pair="own/small_one", gap=0.5),
    Row("own/small_free", "free", toy(privacy={"epsilon": None, "non_private": True})),
    Row("own/small_again", "again", {}, 11.0, alias="own/small_one"))}
"""


class Reproduce(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        for name in ("tools", "docs", "configs"):
            (self.root / name).mkdir()
        shutil.copy(ROOT / "tools/reproduce", self.root / "tools")
        shutil.copy(ROOT / "tools/recipes.py", self.root / "tools/recipes_of_the_papers.py")
        (self.root / "tools/recipes.py").write_text(ROWS)
        for name in ("toy", "copy/toy-jpeg"):
            data = self.root / "data" / name
            data.mkdir(parents=True)
            for i, file in enumerate([f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]):
                data.joinpath(file).write_bytes(b"".join(
                    bytes([n % 10]) + bytes((n * 31 + i * 7 + p * (n % 10 + 1)) % 256 for p in range(3072))
                    for n in range(40)))
        self.assertEqual(self.run_tool("--write-configs").returncode, 0)

    def tearDown(self):
        self.folder.cleanup()

    def stopping(self):
        """A program that stops after two more steps, as if time had been up."""
        script = self.root / "stopping"
        script.write_text(f'#!/bin/sh\nexec {PROGRAM} "$@" --max-steps 2\n')
        script.chmod(0o755)
        return str(script)

    def run_tool(self, *arguments, program=PROGRAM, **kwargs):
        return subprocess.run([sys.executable, str(self.root / "tools/reproduce"), "--program", program,
                               "--data-root", str(self.root / "data"), *arguments],
                              capture_output=True, text=True, cwd=self.root, timeout=100, **kwargs)

    def results(self):
        return json.loads((self.root / "docs/reproduction.json").read_text())

    def table(self):
        return (self.root / "docs/reproduction.md").read_text()

    def refused(self, done, *words):
        self.assertEqual(done.returncode, 2, done.stderr)
        last = done.stderr.splitlines()[-1]
        self.assertTrue(last.startswith(("tools/reproduce: ", "pergrad: ")), done.stderr)
        if last.startswith("tools"):
            self.assertEqual(done.stderr.splitlines()[:-1], [])
        for word in words:
            self.assertIn(word, done.stderr)

    def test_rows_seeds_pairs_and_the_table(self):
        done = self.run_tool("own/small_*", "--seeds", "1,2")
        self.assertEqual(done.returncode, 0, done.stderr)
        kept = self.results()
        self.assertEqual(sorted((r["row"], r["seed"]) for r in kept),
                         [(f"own/small_{name}", seed) for name in ("free", "one", "two") for seed in (1, 2)])
        for r in kept:
            self.assertEqual(r["epsilon"] is None, r["row"] == "own/small_free")
            if r["epsilon"]:
                self.assertLessEqual(r["epsilon"][1], 8.0)
            self.assertEqual([step for step, loss, accuracy in r["curve"] if loss > 0 and 0 <= accuracy <= 1], [4])
        table = self.table()
        ones = [100 * r["accuracy"] for r in kept if r["row"] == "own/small_one"]
        self.assertIn(f"| one | 10.0 ± 0.5 | {sum(ones) / 2:.2f} ± ", table)
        self.assertIn(f"| {sum(ones) / 2 - 10:+.2f} |", table)
        self.assertIn("| again | 11.0 |", table)
        self.assertIn("| own/small_two - small_one | +0.5 |", table)
        # Again: nothing is trained, nothing changes.
        before = (self.root / "docs/reproduction.json").read_text()
        self.assertEqual(self.run_tool("own/small_*", "--seeds", "1,2").returncode, 0)
        self.assertEqual((self.root / "docs/reproduction.json").read_text(), before)

    def test_stops_in_time_and_goes_on(self):
        self.assertEqual(self.run_tool("own/small_one", "--max-minutes", "0").returncode, 3)
        # Two steps a call, six in all.
        codes = [self.run_tool("own/small_one", program=self.stopping()).returncode for _ in range(3)]
        self.assertEqual(codes, [3, 3, 0])
        stopped = self.results()[0]
        shutil.rmtree(self.root / "runs")
        self.assertEqual(self.run_tool("own/small_one").returncode, 0)
        self.assertEqual(self.results()[0], stopped)

    def test_missing_leaves_out_what_the_table_has(self):
        copy = str(self.root / "data/copy/toy-jpeg")
        self.assertEqual(self.run_tool("own/small_one", "--data", f"cifar10={copy}").returncode, 0)
        done = self.run_tool("own/small_one", "--missing")  # of the copy does not count
        self.assertNotIn("in the table", done.stderr)
        before = self.results()
        self.assertEqual([r["data"] for r in before], ["toy", "toy-jpeg"])
        shutil.rmtree(self.root / "runs")  # as in a clone of the results
        done = self.run_tool("own/small_one", "--seeds", "1,2", "--missing")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("own/small_one, seed 1: in the table", done.stderr)
        self.assertEqual([(r["data"], r["seed"]) for r in self.results()],
                         [("toy", 1), ("toy", 2), ("toy-jpeg", 1)])
        self.assertEqual([r for r in self.results() if r["seed"] == 1], before)
        self.assertFalse((self.root / "runs/reproduce/own/small_one/seed-1").exists())
        done = self.run_tool("own/small_one", "--missing", "--simulate", "10")  # another batch
        self.assertNotIn("in the table", done.stderr)
        self.assertEqual(len(self.results()), 4)
        rows = self.root / "tools/recipes.py"
        rows.write_text(rows.read_text().replace('"learning_rate": 1.0', '"learning_rate": 0.5'))
        self.assertEqual(self.run_tool("--write-configs").returncode, 0)
        done = self.run_tool("own/small_one", "--missing", "--runs", str(self.root / "anew"))
        self.assertNotIn("in the table", done.stderr)
        self.assertNotEqual(self.results(), before)

    def test_a_row_that_has_not_run_says_so(self):
        self.assertEqual(self.run_tool("--table").returncode, 0)
        self.assertEqual(self.table().count("| not run |"), 4)
        self.assertIn("own/small_one", self.run_tool("--list").stdout)

    def test_copies_of_the_data_and_rehearsals_stand_apart(self):
        copy = str(self.root / "data/copy/toy-jpeg")
        self.assertEqual(self.run_tool("own/small_one").returncode, 0)
        self.assertEqual(self.run_tool("own/small_one", "--data", f"cifar10={copy}").returncode, 0)
        self.assertEqual(self.run_tool("own/small_one", "--simulate", "5").returncode, 0)
        self.assertEqual(sorted((r["data"], r["simulated"]) for r in self.results()),
                         [("toy", 0), ("toy", 5), ("toy-jpeg", 0)])
        rehearsal = next(r for r in self.results() if r["simulated"])
        self.assertGreater(rehearsal["epsilon"][0], 8.0)
        self.assertIn("## Rehearsals at an expected batch of 5", self.table())

    def test_bad_input_is_one_line(self):
        self.refused(self.run_tool("own/small_onn"), "own/small_one")
        self.refused(self.run_tool(), "--list")
        self.refused(self.run_tool("own/small_one", "--seeds", "x"), "--seeds")
        self.refused(self.run_tool("own/small_one", "--data", "cifar11=x"), "--data")
        self.refused(self.run_tool("own/small_one", "--data", "cifar10=nowhere"), "nowhere")
        self.refused(self.run_tool("own/small_one", program="nowhere"), "nowhere")
        self.refused(self.run_tool("own/small_one", "--max-minutes", "x"), "--max-minutes")
        self.refused(self.run_tool("own/small_one", "--nothing"), "--nothing")
        self.assertEqual(self.run_tool("own/small_one").returncode, 0)
        summary = self.root / "runs/reproduce/own/small_one/seed-1/summary.json"
        summary.write_text(summary.read_text()[:100])
        self.refused(self.run_tool("own/small_one"), "damaged")
        shutil.rmtree(self.root / "runs")
        self.assertEqual(self.run_tool("own/small_one").returncode, 0)
        metrics = self.root / "runs/reproduce/own/small_one/seed-1/metrics.jsonl"
        metrics.write_text(metrics.read_text() + '{"step":')
        self.refused(self.run_tool("own/small_one"), "metrics.jsonl", "damaged")
        text = self.table()
        (self.root / "docs/reproduction.md").write_text("mine\n")
        self.refused(self.run_tool("--table"), "has lost its line")
        self.assertEqual(self.table(), "mine\n")
        (self.root / "docs/reproduction.md").write_text(text)
        (self.root / "docs/reproduction.json").write_text("[{")
        self.refused(self.run_tool("--table"), "damaged")

    def files(self):
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for folder in ("runs", "docs")
                for p in (self.root / folder).rglob("*") if p.is_file() and p.suffix != ".lock"}

    def test_a_row_whose_config_changed_is_not_mixed_with_its_past(self):
        self.assertEqual(self.run_tool("own/small_one", program=self.stopping()).returncode, 3)
        self.assertEqual(self.run_tool("own/small_two").returncode, 0)
        before = self.files()
        config = self.root / "configs/own/small_one.toml"
        config.write_text(config.read_text().replace("learning_rate = 1.0", "learning_rate = 2.0"))
        self.refused(self.run_tool("own/small_one"), "own/small_one.toml")
        self.refused(self.run_tool("--check"), "own/small_one.toml")
        rows = self.root / "tools/recipes.py"
        rows.write_text(rows.read_text().replace('"learning_rate": 1.0', '"learning_rate": 2.0'))
        self.assertEqual(self.run_tool("--write-configs").returncode, 0)
        for row in ("own/small_one", "own/small_two"):  # stopped; finished
            self.refused(self.run_tool(row), row, "another config", "--runs")
        self.assertEqual(self.files(), before)
        # A run of which nobody knows what it was begun as: the program compares.
        for file in (self.root / "runs").rglob("*.begun.json"):
            file.unlink()
        self.refused(self.run_tool("own/small_one"), "train.learning_rate")

    def test_a_finished_row_keeps_the_commit_that_trained_it(self):
        def git(*arguments):
            subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a", *arguments], cwd=self.root, check=True,
                           capture_output=True)
        git("init")
        git("commit", "--allow-empty", "-m", "one")
        self.assertEqual(self.run_tool("own/small_one").returncode, 0)
        self.assertEqual(self.run_tool("own/small_two", program=self.stopping()).returncode, 3)
        before = self.results()
        self.assertTrue(before[0]["processor"])
        git("commit", "--allow-empty", "-m", "two")
        self.assertEqual(self.run_tool("own/small_one").returncode, 0)
        self.assertEqual(self.results(), before)
        self.assertEqual(self.run_tool("own/small_two").returncode, 0)
        self.assertEqual(self.results()[1]["commit"].split(", ")[0], before[0]["commit"])
        self.assertEqual(len(self.results()[1]["commit"].split(", ")), 2)  # begun and ended

    def test_two_at_once_lose_nothing(self):
        code = ("import importlib.machinery as m, importlib.util as u, sys\n"
                "spec = u.spec_from_loader('r', m.SourceFileLoader('r', sys.argv[1])); r = u.module_from_spec(spec)\n"
                "spec.loader.exec_module(r)\n"
                "for i in range(20):\n"
                "    r.keep({'row': 'own/small_one', 'data': 'toy', 'simulated': 0, 'seed': int(sys.argv[2]) + i,\n"
                "            'accuracy': .5, 'epsilon': None, 'config': 'c', 'commit': 'c', 'device': 'cpu',\n"
                "            'precision': 'fp32', 'scored_on': 'test'})\n")
        both = [subprocess.Popen([sys.executable, "-c", code, str(self.root / "tools/reproduce"), str(first)])
                for first in (0, 100)]
        self.assertEqual([p.wait(timeout=100) for p in both], [0, 0])
        self.assertEqual(len(self.results()), 40)
        self.assertIn("| 0, 1, 2, ", self.table())

    def test_rows_that_are_no_more_stay_in_the_table(self):
        self.assertEqual(self.run_tool("own/small_one").returncode, 0)
        self.assertEqual(self.run_tool("own/small_one", "--simulate", "5").returncode, 0)
        rows = self.root / "tools/recipes.py"
        rows.write_text(rows.read_text().replace("own/small_one", "own/small_renamed"))
        self.assertEqual(self.run_tool("--table").returncode, 0)
        self.assertEqual(self.table().count("| own/small_one |"), 2)
        kept = [r for r in self.results() if r["simulated"]]  # of a row that has run in rehearsals only
        (self.root / "docs/reproduction.json").write_text(json.dumps(kept))
        self.assertEqual(self.run_tool("--table").returncode, 0)
        self.assertEqual(self.table().count("| own/small_one |"), 2)

    def test_a_full_disk_is_said_before_anything_starts(self):
        text = (self.root / "tools/reproduce").read_text()
        (self.root / "tools/reproduce").write_text(text.replace("FREE = 1 << 30", "FREE = 1 << 62"))
        self.refused(self.run_tool("own/small_one"), "MiB are free")
        self.assertFalse((self.root / "runs").exists())


if __name__ == "__main__":
    unittest.main()
