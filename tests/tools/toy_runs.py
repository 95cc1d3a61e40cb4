"""Runs of the program on small data made here, in a folder that goes away, for the tests of what a run leaves behind.

The environment's PERGRAD says where the program is.
"""
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["PERGRAD"]
CONFIG = """
[data]
format = "idx"
path = "toy"
mean = [0.4]
std = [0.3]
label_count = 4
[model]
name = "linear"
[augment]
base = 2
mix = 2
crop_padding = 1
color_jitter = true
[privacy]
epsilon = 8.0
delta = 1e-3
[train]
expected_batch_size = 24
steps = 5
learning_rate = 1.0
momentum = 0.5
evaluate_every = 2
checkpoint_every = 2
[log]
every = 1
"""


class ToyRuns(unittest.TestCase):
    """cls.root holds the data (as idx, four labels), toy.toml, and a folder for each of `runs`."""

    runs = {}  # {folder: further arguments of `pergrad train`}

    @classmethod
    def setUpClass(cls):
        cls.keep = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.keep.name)
        (cls.root / "toy").mkdir()
        for name, n in (("train", 200), ("t10k", 40)):
            labels = bytes(i % 4 for i in range(n))
            pixels = bytes((i * 7 + p * (i % 4 + 1)) % 256 for i in range(n) for p in range(144))
            (cls.root / f"toy/{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, n, 12, 12) + pixels)
            (cls.root / f"toy/{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + labels)
        (cls.root / "toy.toml").write_text(CONFIG)
        for run, more in cls.runs.items():
            done = cls.program("train", "toy.toml", "--out", run, *more)
            assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls):
        cls.keep.cleanup()

    @classmethod
    def program(cls, *arguments):
        return subprocess.run([PROGRAM, *arguments], cwd=cls.root, capture_output=True, text=True, timeout=100,
                              env=os.environ | {"PERGRAD_DATA": str(cls.root)})
