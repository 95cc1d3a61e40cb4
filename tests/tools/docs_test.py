"""The documents hold: their links, the files and commands that they name; and docs/formats.md, against runs made here.

The environment's PERGRAD says where the program is.
"""
import functools
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import unittest

from toy_runs import PROGRAM, ToyRuns

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".cache", ".deps", "build", "data", "runs"}  # at the top: what git ignores

# Files that a document names though they are not in the repository, and why.
NAMED_ONLY = {
    "docs/extending.md": {  # its examples, which the code does not keep
        "apps/data_stl10.h", "apps/data_stl10.cpp", "tests/fuzz/stl10.cpp", "apps/verb_names.h", "apps/verb_names.cpp"},
    "docs/gpu.md": {"include/cudnn.h"},  # of cuDNN
}
# First words behind `pergrad` that are no verbs, and why.
NO_VERBS = {
    "docs/extending.md": {"names"},  # the verb that is its example
    "docs/formats.md": {"dataset", "run", "checkpoint"},  # texts that are hashed or stand in files
}


def documents():
    return [p for p in sorted(ROOT.rglob("*.md")) if p.relative_to(ROOT).parts[0] not in NOT_OURS]


def name_of(document):
    return document.relative_to(ROOT).as_posix()


def parts_of(text):
    """Prose, and fenced blocks as (language, text)."""
    prose, blocks = [], []
    for i, piece in enumerate(re.split(r"^```", text, flags=re.M)):
        if i % 2:
            language, _, body = piece.partition("\n")
            blocks.append((language.strip(), body))
        else:
            prose.append(piece)
    return "\n".join(prose), blocks


def inline_code(prose):
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose)]


def anchors(document):
    """The names that a web page of the document gives to its headings."""
    prose, _ = parts_of(document.read_text())
    names = []
    for heading in re.findall(r"^#+ (.+)$", prose, flags=re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        names.append(name if name not in names else f"{name}-{names.count(name)}")
    return names


class Names(unittest.TestCase):
    def test_links_lead_somewhere(self):
        count = 0
        for document in documents():
            prose, _ = parts_of(document.read_text())
            for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose)):
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = (document.parent / path).resolve() if path else document
                with self.subTest(document=name_of(document), link=link):
                    self.assertTrue(target.exists(), "no such file")
                    if anchor:
                        self.assertIn(anchor, anchors(target))
                count += 1
        self.assertGreater(count, 40)

    def test_files_that_are_named_are_there(self):
        a_file = re.compile(r"(?:\./)?([\w.-]+(?:/[\w.-]+)+\.(?:h|cpp|md|toml|py|cu|svg|json)|tools/\w+)[,;:.]?")
        count = 0
        for document in documents():
            prose, _ = parts_of(document.read_text())
            for word in [w for code in inline_code(prose) for w in code.split()]:
                match = a_file.fullmatch(word)
                if not match or match[1] in NAMED_ONLY.get(name_of(document), set()):
                    continue
                with self.subTest(document=name_of(document), file=match[1]):
                    self.assertTrue((ROOT / match[1]).exists() or (document.parent / match[1]).exists(), "no such file")
                count += 1
        self.assertGreater(count, 200)

    def test_exceptions_are_needed(self):
        for document, files in NAMED_ONLY.items():
            text = (ROOT / document).read_text()
            for file in files:
                self.assertIn(file, text)
                self.assertFalse((ROOT / file).exists(), file)


@functools.cache
def help_of(*verb):
    done = subprocess.run([PROGRAM, *verb, "--help"], capture_output=True, text=True, timeout=60)
    return done.stdout.partition("\nExamples:\n")[0] if done.returncode == 0 else ""


def has_verbs_below(*verb):
    return "Subcommands:" in help_of(*verb)


def knows_verb(*verb):
    below = help_of(*verb[:-1]).partition("Subcommands:")[2]
    return re.search(rf"^ +{re.escape(verb[-1])}\b", below, flags=re.M) is not None


def commands(block):
    """What follows `pergrad` on the lines of a block; lines that are indented or follow a backslash go on."""
    joined = re.sub(r"\\\n", " ", re.sub(r"\n[ \t]+(?=[\[-])", " ", block))
    for line in joined.splitlines():
        match = re.match(r"\s*(?:\$ )?(?:\S*=\S+ )*(?:\S*/)?pergrad(?: (.*))?$", line.partition(" #")[0])
        if match and match[1]:
            yield re.split(r" (?:&&|\|\||[;|>]) ", match[1])[0]


class Commands(unittest.TestCase):
    def check(self, document, command):
        words = command.replace("[", " ").replace("]", " ").split()
        verbs = [()]
        while words and not words[0].startswith("-") and (not verbs[0] or has_verbs_below(*verbs[0])):
            if not re.fullmatch(r"[a-z|-]+", words[0]):
                break  # VERB, "...": a place holder
            verbs = [(*verb, word) for verb in verbs for word in words[0].split("|")]
            for verb in verbs:
                if verb[0] in NO_VERBS.get(name_of(document), set()):
                    return
                self.assertTrue(knows_verb(*verb), f"no verb {' '.join(verb)}")
            words.pop(0)
        if words and words[0] == "VERB":
            return
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", " ".join(words)):
            # A line about several verbs ("kernels|step") may name a flag of one of them.
            self.assertTrue(any(re.search(rf"{flag}\b(?!-)", help_of(*verb)) for verb in verbs), f"no flag {flag}")

    def test_verbs_and_flags_are_known(self):
        count = 0
        for document in documents():
            prose, blocks = parts_of(document.read_text())
            found = [c for language, body in blocks if language in ("", "sh", "bash", "console", "text")
                     for c in commands(body)]
            found += [code.partition("pergrad ")[2] for code in inline_code(prose) if code.startswith("pergrad ")]
            for command in found:
                with self.subTest(document=name_of(document), command=command):
                    self.check(document, command)
                count += 1
        self.assertGreater(count, 60)


class Formats(ToyRuns):
    """docs/formats.md: its programs run, and its tables hold every key."""

    runs = {"run": [], "free": ["--non-private"],
            "open": ["--set", "log.nonprivate=true", "--set", "train.optimizer=adam", "--set", "train.momentum=0"]}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        text = (ROOT / "docs/formats.md").read_text()
        _, blocks = parts_of(text)
        for language, body in blocks:
            if language == "python":
                (cls.root / re.match(r"# (\w+\.py) ", body)[1]).write_text(body)
        cls.sections = {s.partition("\n")[0]: s for s in re.split(r"^## ", text, flags=re.M)}

    def script(self, name, file):
        return subprocess.run([sys.executable, self.root / name, file], capture_output=True, text=True, timeout=60)

    def verify(self, data):
        (self.root / "ledger.jsonl").write_bytes(data)
        return self.script("verify_ledger.py", self.root / "ledger.jsonl")

    def test_verifier_agrees_with_the_program(self):
        for run in ("run", "open"):
            done = self.script("verify_ledger.py", self.root / run / "ledger.jsonl")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("6 lines verify: 1 plan(s), 5 steps", done.stdout)
            self.assertIn(self.header(run)[0]["ledger_head"], done.stdout)
            self.assertEqual(self.program("account", "ledger", run).returncode, 0)

    def test_verifier_refuses_a_changed_byte(self):
        ledger = (self.root / "run/ledger.jsonl").read_bytes()
        for place in [*range(0, len(ledger), len(ledger) // 30), len(ledger) - 2, len(ledger) - 1]:
            changed = bytearray(ledger)
            changed[place] ^= 1
            done = self.verify(changed)
            self.assertEqual(done.returncode, 1, f"byte {place}: {done.stdout}")
            self.assertRegex(done.stderr, r"line \d+ does not verify")
        lines = ledger.splitlines(keepends=True)
        for bad in (lines[0] + lines[2], lines[0] + lines[2] + lines[1], lines[1], lines[0] + lines[1] * 2):
            self.assertEqual(self.verify(bad if isinstance(bad, bytes) else b"".join(bad)).returncode, 1)
        # What a crash leaves is no change: a torn line, a line without its end.
        for cut, left in ((1, 6), (3, 5), (200, 5)):
            done = self.verify(ledger[:-cut])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(f"{left} lines verify", done.stdout)

    def test_reader_of_checkpoints(self):
        for run in ("run", "open", "free"):
            for file in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
                done = self.script("read_checkpoint.py", self.root / run / file)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("layers.0.classifier.weight: F32 [4, 144] bytes [0, 2304]", done.stdout)
                self.assertIn("step: 5" if "previous" not in file else "step: 4", done.stdout)
        whole = (self.root / "run/checkpoint.safetensors").read_bytes()
        for place in (len(whole) - 1, len(whole) // 2):
            changed = bytearray(whole)
            changed[place] ^= 1
            (self.root / "bad.safetensors").write_bytes(changed)
            done = self.script("read_checkpoint.py", self.root / "bad.safetensors")
            self.assertEqual(done.returncode, 1)
            self.assertIn("the checksum is wrong", done.stderr)

    def header(self, run, file="checkpoint.safetensors"):
        data = (self.root / run / file).read_bytes()
        arrays = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        return arrays.pop("__metadata__"), arrays

    def assert_told(self, section, keys):
        told = set(re.findall(r"`([\w.]+)`", self.sections[section]))
        self.assertEqual(set(keys) - told, set(), f"docs/formats.md, {section}")

    def test_every_key_is_told(self):
        files = set()
        for run in ("run", "open", "free"):
            folder = self.root / run
            files |= {file.name for file in folder.iterdir()}
            self.assert_told("run.json, run.key, lock", json.loads((folder / "run.json").read_text()))
            self.assert_told("summary.json", json.loads((folder / "summary.json").read_text()))
            for line in (folder / "metrics.jsonl").read_text().splitlines():
                self.assert_told("metrics.jsonl", json.loads(line))
            about, arrays = self.header(run)
            self.assert_told("checkpoint.safetensors", about)
            self.assert_told("checkpoint.safetensors", [name for name in arrays if name.startswith("optimizer.")])
            if run != "free":
                for line in map(json.loads, (folder / "ledger.jsonl").read_text().splitlines()):
                    self.assert_told("ledger.jsonl", line)
                    self.assert_told("ledger.jsonl", [pair.partition("=")[0] for pair in line.get("plan", "").split()])
        told = set(re.findall(r"^\| `([\w.]+)` \|", self.sections["# The files of a run"], flags=re.M))
        self.assertEqual(files | {"report.html"}, told)

    def test_what_must_agree(self):
        for run in ("run", "open", "free"):
            folder, section, lines = self.root / run, "", ""
            for line in (folder / "config.toml").read_text().splitlines():
                if line.startswith("["):
                    section = line[1:line.index("]")]
                elif line and section not in ("speed", "log"):
                    unset = re.match(r"# (\w+) is not set", line)
                    key, value = (unset[1], "(not set)") if unset else line.partition("  # ")[0].split(" = ", 1)
                    lines += f"{section}.{key} = {value}\n"
            config_hash = hashlib.sha256(lines.encode()).hexdigest()
            about, run_json = self.header(run)[0], json.loads((folder / "run.json").read_text())
            summary = json.loads((folder / "summary.json").read_text())
            self.assertEqual({config_hash}, {x["config_hash"] for x in (about, run_json, summary)})
            self.assertEqual(about["dataset_tag"], run_json["dataset_tag"])
            self.assertEqual(about["plan_hash"], summary["plan_hash"])
            if run != "free":
                ledger = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
                self.assertEqual(about["plan_hash"], ledger[0]["plan_hash"])
                self.assertEqual(about["ledger_head"], ledger[-1]["hash"])
            else:
                self.assertEqual((about["plan_hash"], about["ledger_head"]), ("", ""))
            self.assertEqual((folder / "run.key").stat().st_mode & 0o777, 0o600)


if __name__ == "__main__":
    unittest.main()
