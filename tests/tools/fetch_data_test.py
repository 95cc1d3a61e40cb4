"""tools/fetch_data against a server on this machine that cuts, lies and stalls.   No network; some seconds.

With the environment's PERGRAD naming a built program, also that it reads what was fetched.
"""
import contextlib
import hashlib
import http.server
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import pty
import random
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest
import zipfile
import zlib

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/fetch_data"
CLASSES = {"Forest": 15, "River": 10, "Sea_Lake": 7}


class Server(http.server.ThreadingHTTPServer):
    """Serves `body`. Each request takes the next of `plan`: None (well behaved, the default), "no range",
    "wrong range", "wrong total", "too much", a status, ("cut", n), ("stall", n) after n bytes of what it sends."""
    daemon_threads = True

    def __init__(self, body):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.plan, self.log, self.go_on = body, [], [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/archive"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        how = server.plan.pop(0) if server.plan else None
        begin = self.headers.get("Range")
        at = int(begin.removeprefix("bytes=").removesuffix("-")) if begin and how != "no range" else 0
        server.log.append([begin, 0])
        entry = server.log[-1]
        if isinstance(how, int) or at >= len(server.body) > 0:
            return self.send_error(how or 416)
        body = server.body[at:]
        self.send_response(206 if at else 200)
        if how == "too much":  # and does not say so
            body += b"x" * 100000
        else:
            self.send_header("Content-Length", str(len(body)))
        if at:
            first, total = at + (how == "wrong range"), len(server.body) + (how == "wrong total")
            self.send_header("Content-Range", f"bytes {first}-{len(server.body) - 1}/{total}")
        self.end_headers()
        cut = how[1] if isinstance(how, tuple) else len(body)
        self.wfile.write(body[:cut])
        self.wfile.flush()
        entry[1] = min(cut, len(body))
        if isinstance(how, tuple) and how[0] == "stall":
            server.go_on.wait(20)
            with contextlib.suppress(OSError):
                self.wfile.write(body[cut:])
        self.close_connection = True


def tar_of(files, extra=()):
    """A .tar.gz of {name: bytes} and of more TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return out.getvalue()


def zip_of(files, link=None):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def png(shade, side=8):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((shade + x) % 256 for x in range(3 * side)) for _ in range(side))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def cifar_files():
    noise = random.Random(1)
    files = {f"data_batch_{i}.bin": 12 for i in range(1, 6)} | {"test_batch.bin": 10}
    files = {name: b"".join(bytes([n % 10]) + noise.randbytes(3072) for n in range(count))
             for name, count in files.items()}
    return files | {"batches.meta.txt": "".join(f"label{i}\n" for i in range(10)).encode()}


CIFAR = cifar_files()
GOOD_CIFAR = {f"cifar-10-batches-bin/{name}": data for name, data in CIFAR.items()}
CIFAR_TAR = tar_of(GOOD_CIFAR | {"cifar-10-batches-bin/readme.html": b"not needed"})
EUROSAT = {f"2750/{name}/{name}_{i}.jpg": png(i) for name, count in CLASSES.items() for i in range(1, count + 1)}


class FetchData(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        self.data = self.root / "data"
        self.part = self.data / "cifar-10-binary.tar.gz.part"
        self.target = self.data / "cifar-10-batches-bin"
        self.serve(CIFAR_TAR)

    def serve(self, body, name="cifar10", **table):
        """Serves `body` as the archive of that data set, whose true size and checksum go into the table."""
        self.server = Server(body)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.addCleanup(self.server.go_on.set)
        form = {"archive": "cifar-10-binary.tar.gz", "target": "cifar-10-batches-bin", "inside": "cifar-10-batches-bin",
                "files": {file: len(data) if file.endswith(".bin") else None for file, data in CIFAR.items()}}
        if name == "eurosat":
            form = {"archive": "EuroSAT.zip", "target": "eurosat", "inside": "2750", "classes": CLASSES}
        form |= {"urls": [self.server.url], "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        self.table = {"waits": [0, 0.01, 0.02], "timeout": 5, "datasets": {name: form}} | table
        self.form = form

    def start(self, *arguments):
        (self.root / "table.json").write_text(json.dumps(self.table))
        environment = dict(os.environ, PERGRAD_FETCH_TABLE=str(self.root / "table.json"), no_proxy="*")
        return subprocess.Popen([sys.executable, str(TOOL), *arguments, "--to", str(self.data)], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    def call(self, *arguments, status=0, says=""):
        """What it wrote to standard error."""
        process = self.start(*(arguments or ["cifar10"]))
        errors = process.communicate(timeout=30)[1]
        self.assertEqual(process.returncode, status, errors)
        self.assertIn(says, errors)
        self.assertNotIn("Traceback", errors)
        return errors

    def refused(self, *arguments, says):
        """The last line: why; nothing was unpacked."""
        last = self.call(*arguments, status=2, says=says).splitlines()[-1]
        self.assertIn(says, last)
        self.assertFalse(self.target.exists())
        self.assertEqual(list(self.data.glob(".*")), [])
        return last

    def check_cifar(self, left_over=()):
        self.assertEqual({file.name: file.read_bytes() for file in self.target.iterdir()}, CIFAR)
        self.assertEqual({file.name for file in self.data.iterdir()}, {self.target.name, *left_over})

    def sent(self):
        return [n for _, n in self.server.log]

    def test_whole_download(self):
        errors = self.call()
        self.check_cifar()
        self.assertEqual(self.server.log, [[None, len(CIFAR_TAR)]])
        self.assertIn(f"{len(CIFAR_TAR):,} of {len(CIFAR_TAR):,} bytes, 100%", errors)
        self.call(says="nothing to do")
        self.assertEqual(len(self.server.log), 1)

    def test_progress_is_one_line_on_a_terminal(self):
        master, slave = pty.openpty()
        (self.root / "table.json").write_text(json.dumps(self.table))
        environment = dict(os.environ, PERGRAD_FETCH_TABLE=str(self.root / "table.json"), no_proxy="*")
        subprocess.run([sys.executable, str(TOOL), "cifar10", "--to", str(self.data)], stderr=slave, env=environment,
                       check=True, timeout=30)
        os.close(slave)
        self.assertIn(b"\r\33[Kcifar-10-binary.tar.gz: ", os.read(master, 100000))
        os.close(master)

    def test_archive_is_kept_and_used(self):
        self.call("cifar10", "--keep-archive")
        self.check_cifar(["cifar-10-binary.tar.gz"])
        self.target.rename(self.root / "away")
        self.call()
        self.check_cifar(["cifar-10-binary.tar.gz"])
        self.assertEqual(len(self.server.log), 1)

    def test_wrong_archive_of_the_user_is_left_alone(self):
        self.data.mkdir()
        archive = self.data / "cifar-10-binary.tar.gz"
        archive.write_bytes(b"?")
        self.refused("cifar10", says="has 1 bytes, wanted")
        self.assertEqual(archive.read_bytes(), b"?")
        self.assertEqual(self.server.log, [])

    def test_goes_on_within_a_call_after_cuts(self):
        self.server.plan = [("cut", 70000), 500, ("cut", 50000), 503, 429]
        self.call(says="ended after 70000 of")
        self.check_cifar()
        self.assertEqual(self.server.log, [[None, 70000], ["bytes=70000-", 0], ["bytes=70000-", 50000],
                                           ["bytes=120000-", 0], ["bytes=120000-", 0],
                                           ["bytes=120000-", len(CIFAR_TAR) - 120000]])

    def test_goes_on_in_the_next_call(self):
        self.server.plan = [("cut", 70000), 500, 500, 500, 500]
        self.refused("cifar10", says="500")
        self.assertEqual(self.part.read_bytes(), CIFAR_TAR[:70000])
        self.server.plan, self.server.log = [], []
        self.call()
        self.check_cifar()
        self.assertEqual(self.server.log, [["bytes=70000-", len(CIFAR_TAR) - 70000]])

    def test_complete_part_is_only_checked(self):
        self.data.mkdir()
        self.part.write_bytes(CIFAR_TAR)
        self.call()
        self.check_cifar()
        self.assertEqual(self.server.log, [])

    def test_starts_anew_where_the_rest_cannot_be_had(self):
        for how, sizes in {"no range": 1, "wrong range": 2, "wrong total": 2, 416: 2}.items():
            with self.subTest(how):
                self.setUp()
                self.data.mkdir()
                self.part.write_bytes(b"x" * 1000)  # not what the server has: it must not stay
                self.server.plan = [how]
                self.call()
                self.check_cifar()
                self.assertEqual(len(self.server.log), sizes)
                self.assertEqual(self.server.log[0][0], "bytes=1000-")
                self.assertEqual(self.sent()[-1], len(CIFAR_TAR))

    def test_part_longer_than_the_archive_is_begun_anew(self):
        self.data.mkdir()
        self.part.write_bytes(CIFAR_TAR + b"x")
        self.call()
        self.check_cifar()
        self.assertEqual(self.server.log, [[None, len(CIFAR_TAR)]])

    def test_wrong_byte(self):
        right = self.server.body
        self.server.body = right[:5000] + bytes([right[5000] ^ 1]) + right[5001:]
        line = self.refused("cifar10", says="SHA-256 is " + hashlib.sha256(self.server.body).hexdigest())
        for text in ("wanted " + self.form["sha256"], self.server.url, "cifar-10-binary.tar.gz.bad"):
            self.assertIn(text, line)
        self.assertEqual([file.name for file in self.data.iterdir()], ["cifar-10-binary.tar.gz.bad"])
        self.server.body = right
        self.call()
        self.check_cifar(["cifar-10-binary.tar.gz.bad"])

    def test_wrong_size_is_refused_before_anything_is_taken(self):
        self.server.body += b"x"
        self.refused("cifar10", says=f"has {len(CIFAR_TAR) + 1} bytes, wanted {len(CIFAR_TAR)}")
        self.assertEqual(list(self.data.iterdir()), [])

    def test_more_than_wanted_is_cut_off(self):
        self.server.plan = ["too much"]
        self.refused("cifar10", says=f"sends more than the {len(CIFAR_TAR)} bytes wanted")
        self.assertEqual(list(self.data.iterdir()), [])

    def test_next_address(self):
        self.form["urls"] = [self.server.url.replace("http:", "file:").replace("127.0.0.1", ""),
                             f"file://{self.root}/none", self.server.url]
        self.call(says="trying the next address")
        self.check_cifar()

    def test_not_found_is_not_asked_again(self):
        self.server.plan = [404]
        self.refused("cifar10", says="404")
        self.assertEqual(len(self.server.log), 1)
        self.assertEqual(list(self.data.iterdir()), [])

    def test_file_and_other_addresses(self):
        file = self.root / "mirror.tar.gz"
        file.write_bytes(CIFAR_TAR)
        self.refused("cifar10", "--url", f"ftp://{file}", says="wanted one NAME and an address")
        self.refused("cifar10", "--url", f"file://{file}x", says="No such file")
        self.call("cifar10", "--url", f"file://{file}")
        self.check_cifar()
        self.assertEqual(self.server.log, [])

    def test_hostile_and_strange_archives(self):
        def odd(name, kind):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            return info
        inside = "cifar-10-batches-bin/"
        twice = tarfile.TarInfo(inside + "test_batch.bin")
        cases = [
            (tar_of(GOOD_CIFAR | {"../evil": b""}), "outside its folder: '../evil'"),
            (tar_of(GOOD_CIFAR | {inside + "../../evil": b""}), "outside its folder"),
            (tar_of(GOOD_CIFAR | {str(self.root / "evil"): b""}), "outside its folder"),
            (tar_of(GOOD_CIFAR, [odd(inside + "a", tarfile.SYMTYPE)]), "no plain file"),
            (tar_of(GOOD_CIFAR, [odd(inside + "a", tarfile.LNKTYPE)]), "no plain file"),
            (tar_of(GOOD_CIFAR, [odd(inside + "a", tarfile.CHRTYPE)]), "no plain file"),
            (tar_of(GOOD_CIFAR, [twice]), "twice"),
            (tar_of({name: data for name, data in GOOD_CIFAR.items() if "batch_3" not in name}), "has no cifar-10"),
            (tar_of(GOOD_CIFAR | {inside + "test_batch.bin": b"short"}), "has 5 bytes as"),
            (CIFAR_TAR[:100000], "cannot be unpacked"),
            (b"<html>no tar at all</html>", "cannot be unpacked")]
        for body, says in cases:
            with self.subTest(says):
                self.serve(body)
                self.refused("cifar10", says=says)
                self.assertEqual([file.name for file in self.data.iterdir()], ["cifar-10-binary.tar.gz.bad"])
                self.assertFalse((self.root / "evil").exists() or (self.data / "evil").exists())

    def test_hostile_and_strange_zips(self):
        fewer = {name: data for name, data in EUROSAT.items() if not name.endswith("River_3.jpg")}
        good = zip_of(EUROSAT)
        for body, says in [(zip_of(EUROSAT | {"../evil.jpg": b""}), "outside its folder"),
                           (zip_of(EUROSAT | {"/tmp/evil.jpg": b""}), "outside its folder"),
                           (zip_of(EUROSAT, link="2750/Forest/link.jpg"), "no plain file"),
                           (zip_of(fewer), "has 9 images in 2750/River, wanted 10"),
                           (good[:3000], "cannot be unpacked"),
                           (good.replace(b"IDAT", b"IDAX", 1), "cannot be unpacked")]:
            with self.subTest(says):
                self.serve(body, "eurosat")
                self.refused("eurosat", says=says)
                self.assertFalse((self.data / "eurosat").exists())

    def test_disk_too_small(self):
        self.table["free"] = len(CIFAR_TAR) - 1
        self.refused("cifar10", says=f"{len(CIFAR_TAR) - 1:,} bytes are free, downloading")
        self.assertEqual(self.server.log, [])
        self.table["free"] = len(CIFAR_TAR)
        self.refused("cifar10", says="bytes are free, unpacking")
        self.assertEqual(self.part.read_bytes(), CIFAR_TAR)
        del self.table["free"]
        self.call()
        self.check_cifar()

    def test_names(self):
        for name in ("cifar-10", "CIFAR10", "cifr"):
            self.assertIn("the nearest is cifar10", self.refused(name, says=f"{name}: no such data set"))
        self.refused("cifar10", "cifar100", says="cifar100: no such data set")  # and the first is not begun
        self.assertEqual(self.server.log, [])

    def test_list(self):
        process = self.start("--list")
        self.assertRegex(process.communicate()[0], r"cifar10 +not there ")
        self.call()
        process = self.start("--list")
        self.assertRegex(process.communicate()[0], r"cifar10 +there ")

    def test_what_is_there_stays(self):
        self.call()
        for change in (lambda: (self.target / "data_batch_2.bin").unlink(),
                       lambda: (self.target / "data_batch_2.bin").write_bytes(b"half"),
                       lambda: [file.unlink() for file in self.target.iterdir()]):
            change()
            before = {file.name: file.read_bytes() for file in self.target.iterdir()}
            self.assertIn("data_batch_2.bin", self.call(status=2, says="is there, but not whole").splitlines()[0])
            self.assertEqual({file.name: file.read_bytes() for file in self.target.iterdir()}, before)
        self.assertEqual(len(self.server.log), 1)

    def wait_for_part(self):
        deadline = time.monotonic() + 20
        while not (self.part.exists() and self.part.stat().st_size > 50000) and time.monotonic() < deadline:
            time.sleep(0.02)

    def test_interrupted(self):
        self.server.plan = [("stall", 100000)]
        process = self.start("cifar10")
        self.wait_for_part()
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=20)[1]
        self.assertEqual(process.returncode, 130, errors)
        self.assertNotIn("Traceback", errors)
        self.assertIn("interrupted", errors.splitlines()[-1])
        got = self.part.read_bytes()
        self.assertGreater(len(got), 50000)
        self.assertEqual(got, CIFAR_TAR[:len(got)])
        self.call()
        self.check_cifar()
        self.assertEqual(self.server.log[1:], [[f"bytes={len(got)}-", len(CIFAR_TAR) - len(got)]])

    def test_two_at_once(self):
        self.server.plan = [("stall", 100000)]
        first = self.start("cifar10")
        self.wait_for_part()
        self.refused_line = self.call(status=2, says="another call is at it")
        self.assertEqual(len(self.refused_line.splitlines()), 1)
        self.server.go_on.set()
        errors = first.communicate(timeout=20)[1]
        self.assertEqual(first.returncode, 0, errors)
        self.check_cifar()

    def test_killed_while_unpacking(self):
        (self.data / ".cifar-10-batches-bin.unpacking").mkdir(parents=True)
        (self.data / ".cifar-10-batches-bin.unpacking/test_batch.bin").write_bytes(b"half")
        self.call()
        self.check_cifar()

    def eurosat_folder(self):
        return {str(file.relative_to(self.data / "eurosat")): file.read_bytes()
                for file in (self.data / "eurosat").rglob("*") if file.is_file()}

    def test_eurosat(self):
        self.serve(zip_of(dict(reversed(EUROSAT.items())) | {"2750/": b"", "__MACOSX/2750/Forest/._x.jpg": b""}),
                   "eurosat")
        self.call("eurosat")
        lies = self.eurosat_folder()
        for name, count in CLASSES.items():  # by hand: the fifth whose hash comes first
            order = sorted((f"{name}_{i}.jpg" for i in range(1, count + 1)),
                           key=lambda file: hashlib.sha256(f"{name}/{file}".encode()).hexdigest())
            for place, file in enumerate(order):
                part = "test" if place < count // 5 else "train"
                self.assertEqual(lies.pop(f"{part}/{name}/{file}"), EUROSAT[f"2750/{name}/{file}"])
        self.assertEqual(lies, {})
        self.call("eurosat", says="nothing to do")
        test = self.data / "eurosat/test/Forest"
        moved = next(test.iterdir())
        moved.rename(self.data / "eurosat/train/Forest" / moved.name)
        self.call("eurosat", status=2, says="is there, but not whole: Forest")

    def test_eurosat_split_at_full_size(self):
        loader = importlib.machinery.SourceFileLoader("fetch_data", str(TOOL))
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch_data", loader))
        loader.exec_module(tool)
        sys.dont_write_bytecode = written
        classes = tool.DATASETS["eurosat"]["classes"]
        digest, counts = hashlib.sha256(), {"train": 0, "test": 0}
        for name in sorted(classes):
            files = [f"{name}_{i}.jpg" for i in range(1, classes[name] + 1)]
            parts = tool.split(name, files)
            self.assertEqual(parts, tool.split(name, reversed(files)))
            test = sorted(file for file, part in parts.items() if part == "test")
            self.assertEqual(len(test), classes[name] // 5)
            digest.update("".join(f"{name}/{file}\n" for file in test).encode())
            for part in parts.values():
                counts[part] += 1
        self.assertEqual(counts, {"train": 21600, "test": 5400})
        self.assertEqual(digest.hexdigest(), "1501a3478f5e97169a74f6626e89047aeab2ef7831089d1fe79e814e159d1ef6")

    def test_pergrad_reads_it(self):
        program = os.environ.get("PERGRAD", "")
        if not os.access(program, os.X_OK):
            self.skipTest("PERGRAD names no built program")
        self.call()
        self.serve(zip_of(EUROSAT), "eurosat")
        self.call("eurosat")
        for name, form, counts in (("cifar-10-batches-bin", "cifar10", [60, 10]), ("eurosat", "image_folder", [26, 6])):
            done = subprocess.run([program, "data", "inspect", name, "--format", form, "--data-root", str(self.data),
                                   "--json"], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            found = json.loads(done.stdout)
            self.assertEqual([part["examples"] for part in found["splits"]], counts)
            self.assertEqual(found["label_names"], sorted(CLASSES) if name == "eurosat"
                             else [f"label{i}" for i in range(10)])


if __name__ == "__main__":
    unittest.main()
