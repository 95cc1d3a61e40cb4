"""Every command in a block of a document, and every example of `pergrad VERB --help`, is run here on small data, or
ELSEWHERE says what runs it. (Lines that say what can be written, with [--flags], a|b or place holders, are docs_test's.)

Commands run in the order of the text, in a folder of their own that looks like the repository's. The environment's
PERGRAD says where the program is.
"""
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import unittest

from docs_test import ROOT, documents, name_of, parts_of
from toy_runs import PROGRAM

sys.path.insert(0, str(ROOT / "tools"))
from peer_models import WideResNet  # noqa: E402

BY_HAND = "by hand: from a fresh clone, before a release"
GPU = "by hand or tools/gpu_check: needs a GPU"
ELSEWHERE = {
    "./tools/demo": BY_HAND,
    "./tools/build release": BY_HAND,
    "./tools/offline_deps": BY_HAND,
    "source .deps/env.sh": BY_HAND,
    "cmake --install build/release --prefix ~/.local": "CTest install.consumer",
    "cmake -B build && cmake --build build && ./build/consumer": "CTest install.consumer",
    r"cmake --build build/cpu --target autograd_tests gpu_tests && ctest --preset cpu -R '^(autograd|gpu)\.'": "tools/test",
    "pergrad audit": "CTest audit.quick",
    "pergrad audit --full": "by hand: docs/audit.md has its time",
    "tools/fetch_data cifar10 cifar100 eurosat": "CTest tools.fetch_data, from a server of its own",
    "tools/fetch_data cifar10": "CTest tools.fetch_data, from a server of its own",
    "tools/reproduce 'bao2023/table2_cifar10_*_eps1' --seeds 1,2,3,4,5 --device cuda --data-root data": GPU,
    "tools/reproduce 'bao2023/table2_cifar10_*_eps1' --simulate 256 --data-root data":
        "CTest tools.reproduce, on rows of its own",
    "./tools/build cuda": "tools/test, where nvcc is",
    "build/cuda/pergrad info": GPU,
    "cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES=native": GPU,
    'cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES="80;90"': GPU,
    "cmake --preset cuda -DCUDNN_ROOT=$(./tools/find_cudnn)": GPU,
    "cmake --build --preset cuda": GPU,
    "build/cuda/pergrad train configs/bao2023/table2_cifar10_dpmix_eps8.toml --device cuda:0": GPU,
    "./tools/gpu_check": GPU,
    'PERGRAD_CHECK_PHASES="tests memcheck" ./tools/gpu_check': GPU,
    "PERGRAD_CHECK_SECONDS=3000 ./tools/gpu_check": GPU,
    "PERGRAD_COMMIT=$(git rev-parse HEAD) ...": GPU,
    "pergrad bench kernels": "by hand: docs/benchmarks.md has what it says",
    "pergrad bench kernels --device cuda --json": GPU,
}
# What makes a command short: the first pattern that is found.
SHORTER = [
    (r"pergrad train .*--max-minutes", "--max-steps 2"),
    (r"pergrad bench step", "--seconds 0.02"),
]
SMALL = ("--set data.examples=600 --set train.expected_batch_size=32 --set train.steps=4"
         " --set train.checkpoint_every=1")
A_COMMAND = re.compile(r"(?:\w+=\S*(?:\"[^\"]*\")? )*(?:\.?/?tools/\w+|(?:\S+/)?pergrad|cmake|ctest|source|export) ?.*|\w+=\$\(.*")
PLACE_HOLDER = re.compile(r"(?<![\w=])(?:[A-Z_]{3,}(?:\.toml)?)(?!\w|=)|\[--|\.\.\.$|[a-z]\|[a-z]")


def commands_in(text):
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        command = re.split(r"\s+#|\s{5,}", line.strip())[0]
        if A_COMMAND.fullmatch(command) and (command in ELSEWHERE or not PLACE_HOLDER.search(command)):
            yield command


def documented():
    """{command: where it stands}, in order."""
    found = {}
    for document in sorted(documents(), key=lambda d: (d.name != "README.md" or d.parent != ROOT, d)):
        for language, body in parts_of(document.read_text())[1]:
            if language in ("", "sh", "bash", "console"):
                for command in commands_in(body):
                    found.setdefault(command, name_of(document))
    verbs = [()]
    for verb in verbs:  # grows
        told = subprocess.run([PROGRAM, *verb, "--help"], capture_output=True, text=True, timeout=60).stdout
        below, _, examples = told.partition("\nExamples:\n")
        names = re.findall(r"^  ([a-z-]+)  ", below.partition("Subcommands:")[2], flags=re.M)
        verbs += [(*verb, name) for name in names]
        for command in commands_in(examples.partition("\n\n")[0]):
            found.setdefault(command, " ".join(["pergrad", *verb, "--help"]))
    return found


def idx(values, *shape):
    return struct.pack(f">I{len(shape)}I", 0x800 + len(shape), *shape) + bytes(values)


class Folder:
    """What a reader has: configs, tools, data (fashion-mnist, cifar-10-batches-bin, photos, eurosat) and the weights
    of a wide ResNet."""

    def __init__(self, root):
        self.root = root
        for name in ("configs", "tools", "docs"):
            (root / name).symlink_to(ROOT / name)
        for name in ("bin", "home/.zfunc", "data/fashion-mnist", "data/cifar-10-batches-bin"):
            (root / name).mkdir(parents=True)
        (root / "bin/pergrad").symlink_to(PROGRAM)
        for name, n in (("train", 600), ("t10k", 40)):
            pixels = [(i * 7 + p * (i % 10 + 1)) % 256 for i in range(n) for p in range(784)]
            (root / f"data/fashion-mnist/{name}-images-idx3-ubyte").write_bytes(idx(pixels, n, 28, 28))
            (root / f"data/fashion-mnist/{name}-labels-idx1-ubyte").write_bytes(idx([i % 10 for i in range(n)], n))
        for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
            record = [bytes([i]) + bytes((i * p + len(name) + p) % 256 for p in range(3072)) for i in range(10)]
            (root / f"data/cifar-10-batches-bin/{name}.bin").write_bytes(b"".join(record))
        (root / "data/cifar-10-batches-bin/batches.meta.txt").write_text("".join(f"label{i}\n" for i in range(10)))
        for name in ("photos", "eurosat"):
            done = self.run(f"pergrad data convert cifar-10-batches-bin data/{name} --format cifar10"
                            " --to-format image_folder")
            assert done.returncode == 0, done.stderr
        self.write_weights(root / "from_pytorch.safetensors")

    @staticmethod
    def write_weights(path):
        header, end = {}, 0
        for name, shape in WideResNet().parameter_shapes().items():
            begin, end = end, end + 4 * math.prod(shape)
            header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))

    def run(self, command):
        environment = os.environ | {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "HOME": str(self.root / "home"),
                                    "PERGRAD_DATA": str(self.root / "data")}
        return subprocess.run(["bash", "-eo", "pipefail", "-c", command], cwd=self.root, env=environment, capture_output=True, text=True,
                              timeout=200)


class Commands(unittest.TestCase):
    def test_each_is_run_or_said_to_be_run_elsewhere(self):
        found, ran = documented(), 0
        with tempfile.TemporaryDirectory() as name:
            folder = Folder(pathlib.Path(name))
            for command, place in found.items():
                command = re.sub(r"^source <\((.*)\)$", r"\1 > sourced && source sourced", command)
                if command in ELSEWHERE:
                    continue
                with self.subTest(place=place, command=command):
                    more = next((more for pattern, more in SHORTER if re.search(pattern, command)), "")
                    if "--seconds" in command:
                        command, more = re.sub(r"--seconds \S+", more, command), ""
                    if command.startswith("pergrad train configs/"):
                        more += " " + SMALL
                        if "--resume" not in command:
                            folder.run("rm -rf runs")
                    done = folder.run(f"{command} {more}" if more else command)
                    self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                    ran += 1
        self.assertGreater(ran, 30)

    def test_exceptions_are_needed(self):
        self.assertEqual(set(ELSEWHERE) - set(documented()), set())


if __name__ == "__main__":
    unittest.main()
