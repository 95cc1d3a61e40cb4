"""Every line "→ `file`: `words`" of docs/dp_sgd_from_scratch.md: the words stand in the file."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Lecture(unittest.TestCase):
    def test_every_formula_points_to_its_line(self):
        text = (ROOT / "docs/dp_sgd_from_scratch.md").read_text()
        arrows = [line for line in text.splitlines() if line.startswith("→")]
        self.assertGreater(len(arrows), 20)
        for line in arrows:
            file, words = re.match(r"→ `([^`]+)`: `([^`]+)`", line).groups()
            flat = re.sub(r"\s+(// )?", " ", (ROOT / file).read_text())  # comments run over lines
            self.assertIn(words, flat, line)


if __name__ == "__main__":
    unittest.main()
