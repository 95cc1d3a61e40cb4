"""`pergrad report` as a reader meets it: whole, readable, accessible, and showing nothing that is private.

The environment's PERGRAD says where the program is. Contrast as in WCAG 2.1, 1.4.3 (4.5 to 1 for text).
"""
import html.parser
import json
import re
import unittest

from toy_runs import ToyRuns

VOID = {"meta", "img", "line", "polyline", "br"}


class Page(html.parser.HTMLParser):
    """Collects what a page is made of; tags must nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.headings, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


class Report(ToyRuns):
    runs = {"run": [], "open": ["--set", "log.nonprivate=true"], "free": ["--non-private"]}

    pages = {}  # a page takes seconds: each is made once

    def page(self, run, *arguments):
        if (run, arguments) in self.pages:
            return self.pages[run, arguments]
        done = self.program("report", run, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.pages[run, arguments] = (self.root / run / "report.html").read_text()
        return self.pages[run, arguments]

    def test_is_whole_and_accessible(self):
        for run, arguments in (("run", ["--public-data"]), ("run", []), ("open", []), ("free", [])):
            text = self.page(run, *arguments)
            page = Page(text)
            tags = [tag for tag, _ in page.tags]
            for word in ("http:", "https:", "<script", "url(", "@import", "<link", "<iframe"):
                self.assertNotIn(word, text.lower())
            self.assertEqual(dict(page.tags)["html"], {"lang": "en"})
            self.assertEqual(dict(page.tags)["meta"]["name"], "viewport")
            self.assertEqual((tags.count("h1"), tags.count("main"), tags.count("title")), (1, 1, 1))
            self.assertTrue(all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:])), page.headings)
            for tag, attributes in page.tags:
                if tag == "img":
                    self.assertTrue(attributes["alt"])
                    self.assertTrue(attributes["src"].startswith("data:image/png;base64,iVBOR"))
                if tag == "svg":
                    self.assertEqual(attributes["role"], "img")
                    self.assertTrue(attributes["aria-label"])
                if tag == "th":
                    self.assertIn(attributes["scope"], ("row", "col"))
            self.assertEqual(tags.count("svg"), tags.count("details"))  # every plot has its numbers
            self.assertGreaterEqual(tags.count("svg"), 1 if run == "free" else 4)
            self.assertNotRegex(text.split("</style>")[1], r"\b(nan|inf)\b")

    def test_text_stands_out_light_and_dark(self):
        style = self.page("run").split("</style>")[0]
        light = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", style[:style.index("@media")]))
        dark = light | dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", style[style.index("@media"):]))
        for colours in (light, dark):
            for name in ("text", "soft", "warn", "one", "two", "three", "four"):
                for ground in ("back", "card"):
                    self.assertGreaterEqual(contrast(colours[name], colours[ground]), 4.5, (name, ground))
            # The darkest shade of a cell: 40 % of the accent.
            accent = [31, 111, 235]
            ground = [int(colours["back"][i:i + 2], 16) for i in (1, 3, 5)]
            shade = "#" + "".join(f"{round(0.6 * g + 0.4 * a):02x}" for g, a in zip(ground, accent))
            self.assertGreaterEqual(contrast(colours["text"], shade), 4.5)

    def test_says_what_the_ledger_says(self):
        page = Page(self.page("run"))
        told = json.loads(self.program("account", "ledger", "run", "--json").stdout)
        low, high = told["epsilon"]["lower"], told["epsilon"]["upper"]
        interval = re.search(r"\[([\d.]+), ([\d.]+)\]", page.text)
        self.assertTrue(low - 1e-4 <= float(interval[1]) <= low and high <= float(interval[2]) <= high + 1e-4)
        stated = float(re.search(r"are \(([\d.]+), 0.001\)-differentially private", page.text)[1])
        self.assertTrue(high <= stated <= high + 1e-4)
        scored = json.loads(self.program("evaluate", "run", "--json").stdout)
        self.assertIn(f"{100 * scored['test_accuracy_ema']:.2f} % of 40 test images", page.text)
        said = json.loads(self.program("report", "run", "--json").stdout)
        self.assertEqual(said["epsilon"]["upper"], high)
        self.assertEqual(said["test_accuracy"], scored["test_accuracy_ema"])

    def test_shows_private_images_and_numbers_only_if_told(self):
        self.assertNotIn("<img", self.page("run"))
        self.assertNotIn("NOT PRIVATE", self.page("run"))
        self.assertEqual(self.page("run", "--public-data").count("<img"), 2 * (1 + 4))
        logged = self.page("open")
        self.assertNotIn("<img", logged)
        self.assertIn("NOT PRIVATE", logged)
        self.assertIn("Norms of per-example gradients", logged)
        self.assertIn("NO PRIVACY", self.page("free"))
        self.assertNotIn("differentially private for", self.page("free"))

    def test_refuses_what_does_not_verify(self):
        ledger = self.root / "open/ledger.jsonl"
        before, page = ledger.read_bytes(), self.root / "open/report.html"
        page.unlink(missing_ok=True)
        ledger.write_bytes(before.replace(b'"step":3', b'"step":4', 1))
        done = self.program("report", "open")
        ledger.write_bytes(before)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertFalse(page.exists())
        for arguments in (["nowhere"], ["toy"], ["run", "-o", "nowhere/page.html"]):
            done = self.program("report", *arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            said = [line for line in done.stderr.splitlines() if line.startswith("pergrad: ")]
            self.assertEqual(said, done.stderr.splitlines()[-1:])

    def test_says_so_where_the_test_images_are_not_to_be_had(self):
        (self.root / "toy").rename(self.root / "away")
        try:
            self.assertEqual(self.program("report", "run", "-o", "without.html").returncode, 0)
        finally:
            (self.root / "away").rename(self.root / "toy")
        self.assertIn("could not be read for this page", (self.root / "without.html").read_text())

    def test_text_of_others_is_text(self):
        (self.root / "<b>&run").symlink_to(self.root / "run")
        text = self.page("<b>&run")
        self.assertIn("&lt;b&gt;&amp;run", text)
        Page(text)


if __name__ == "__main__":
    unittest.main()
