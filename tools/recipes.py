"""The rows of the papers' tables as configs: what tools/reproduce runs, and what it is compared with.

Sources: De et al. 2022 (arXiv 2204.13650; code google-deepmind/jax_privacy v0.1 to v1.0), Bao et al. 2023 (arXiv
2311.01295). A number that neither states is ours and is named in the note of its row, which stands in its config.
`tools/reproduce --write-configs` writes configs/<row>.toml; a test holds them to this file.
"""
import textwrap
from dataclasses import dataclass

CIFAR_MEAN = [0.49139968, 0.48215841, 0.44653091]  # of CIFAR-10; De et al. use them for CIFAR-100 too
CIFAR_STD = [0.24703223, 0.24348513, 0.26158784]
DATA = {
    "cifar10": {"format": "cifar10", "path": "cifar-10-batches-bin", "mean": CIFAR_MEAN, "std": CIFAR_STD,
                "examples": 50000},
    "cifar100": {"format": "cifar100", "path": "cifar-100-binary", "mean": CIFAR_MEAN, "std": CIFAR_STD,
                 "examples": 50000},
    # As often used for EuroSAT; neither paper states any.
    "eurosat": {"format": "image_folder", "path": "eurosat", "mean": [0.3444, 0.3803, 0.4078],
                "std": [0.2037, 0.1366, 0.1148], "examples": 21600},
    "fashion_mnist": {"format": "idx", "path": "fashion-mnist", "mean": [0.2860], "std": [0.3530], "examples": 60000},
}
DATA_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "eurosat": "EuroSAT"}
# De et al. keep sigma and say how many steps an epsilon then allows; we keep the steps and let our accountant say
# which noise they need. The steps of epsilon 1 stand in their code, those of 8 in a config that a user of it quotes;
# the others are from memory.
STEPS = {1: 875, 2: 1125, 3: 1593, 4: 1687, 6: 1843, 8: 2468}
LEARNING_RATE = {1: 2.0, 2: 2.0, 3: 4.0, 4: 4.0, 6: 4.0, 8: 4.0}
RATE_NOTE = "Steps and learning rate are known to us for epsilon 1 and 8 only."
STEPS_NOTE = ("The paper says 200 epochs (2,441 steps) and all else as De et al.; "
              "these are De et al.'s steps for the epsilon.")
UNSAID = "Weight standardization and averaged weights, which it does not mention, as De et al."
RECALLED = "The published number is from memory of the paper's table and was not checked against it."
TALK = "The published number is from a talk on the paper, whose table names WRN-40-4."
UNCLEAR = "The published number is hard to read in our copy."
# What the same nets reach without privacy: settings in common use.
NONPRIVATE = {"expected_batch_size": 128, "learning_rate": 0.1, "momentum": 0.9, "schedule": "cosine"}
NONPRIVATE_NOTE = "Settings are ours: batch 128, momentum 0.9, cosine schedule, one cropped and flipped view."


@dataclass
class Row:
    name: str  # of the config below configs/, without ".toml"
    title: str
    config: dict  # {"section": {"key": value}}
    published: float | None = None  # per cent
    deviation: float | None = None  # of the published runs, per cent
    statistic: str = "mean"  # or "median"
    note: str = ""
    pair: str = ""  # the row that this one is compared with seed by seed, and the published gap to it
    gap: float | None = None
    alias: str = ""  # the row whose runs stand for this one as well; it has no config of its own

    @property
    def group(self):
        return self.name.split("/")[0] + "/" + self.name.split("/")[1].split("_")[0]


def changed(config, **sections):
    result = {section: dict(keys) for section, keys in config.items()}
    for section, keys in sections.items():
        result.setdefault(section, {}).update(keys)
    return {section: {key: value for key, value in keys.items() if value is not None}
            for section, keys in result.items()}


def de2022(dataset="cifar10", epsilon=8, **sections):
    """Self-augmentation as published: 16 views, symmetric padding, WRN-16-4, batch 4096."""
    config = {
        "data": DATA[dataset],
        "model": {"name": "wide_resnet", "depth": 16, "width": 4, "groups": 16, "weight_standardization": True},
        "augment": {"base": 16, "mix": 0, "crop_padding": 4, "padding": "symmetric", "flip": True},
        "privacy": {"epsilon": float(epsilon), "delta": 1e-5, "clip_norm": 1.0},
        "train": {"expected_batch_size": 4096, "steps": STEPS[epsilon], "learning_rate": LEARNING_RATE[epsilon],
                  "ema_decay": 0.9999, "evaluate_every": 100, "checkpoint_every": 25, "seed": 1},
        "noise": {"source": "secure"},
    }
    return changed(config, **sections)


def bao2023(dataset="cifar10", epsilon=8, method="selfaug", **sections):
    """The same as Bao et al. run it: reflect padding; 16 mixes more for DP-Mix_Self."""
    config = changed(de2022(dataset, epsilon), augment={"padding": "reflect"})
    if method == "dpmix":
        config = changed(config, augment={"mix": 16, "mix_alpha": 0.2, "method": "mixup"})
    if dataset == "eurosat":
        config = changed(config, augment={"crop_padding": 8}, train={"steps": 1055})
    return changed(config, **sections)


def eps(epsilon):
    return f"epsilon {epsilon:g}"


def de_rows():
    published = {1: 56.8, 2: 64.9, 3: 69.2, 4: 71.9, 6: 77.0, 8: 79.5}
    for epsilon, accuracy in published.items():
        yield Row(f"de2022/table3_cifar10_wrn16_4_eps{epsilon}", f"WRN-16-4, {eps(epsilon)}", de2022(epsilon=epsilon),
                  accuracy, 0.7 if epsilon == 8 else None, note=" ".join(
                      [RECALLED] * (epsilon != 8) + [RATE_NOTE] * (epsilon not in (1, 8))))
    yield Row("de2022/table3_cifar10_wrn40_4_eps8", "WRN-40-4, epsilon 8",
              de2022(model={"depth": 40}, augment={"base": 32},
                     train={"expected_batch_size": 16384, "steps": 2000}), 81.4,
              note="Batch, views and steps are from memory, the learning rate is ours; 81.4 is from a talk.")
    # The ladder: each rung adds one thing to the rung before; accuracy on 5,000 held-out training images.
    small = {"expected_batch_size": 256, "steps": 10000, "learning_rate": 1.0, "ema_decay": 0.0, "ema_warmup": None}
    large = {"ema_decay": 0.0}
    plain = {"base": 1, "crop_padding": 0, "flip": False}
    held_out = {"validation": 5000, "examples": 45000}
    no_ws = {"weight_standardization": False}
    small_note = "Batch, steps and learning rate of the rungs before the large batch are not published."
    rungs = [
        ("1_baseline", "no normalisation", 50.8,
         dict(model=no_ws | {"norm": "none"}, augment=plain, train=small), small_note),
        ("2_group_norm", "+ group norm", 66.3, dict(model=no_ws, augment=plain, train=small), small_note),
        ("3_batch_4096", "+ batch 4096", 70.0, dict(model=no_ws, augment=plain, train=large), ""),
        ("4_weight_standardization", "+ weight standardization", 71.2, dict(augment=plain, train=large), ""),
        ("5_16_views", "+ 16 views", 78.4, dict(train=large), ""),
        ("6_ema", "+ averaged weights", 79.7, dict(), "")]
    for name, title, accuracy, sections, note in rungs:
        yield Row(f"de2022/ladder_{name}", title, de2022("cifar10", 8, **sections, data=held_out), accuracy,
                  note=f"{TALK} {note}".strip())


def bao_rows():
    # Table 2. The published gap of a pair is what a table of means cannot show.
    published = {
        ("cifar10", "selfaug"): [(56.8, .5), (62.9, .3), (69.5, .4), (78.7, .5)],
        ("cifar10", "dpmix"): [(57.2, .4), (64.6, .4), (70.4, .4), (79.8, .3)],
        ("cifar100", "selfaug"): [(13.3, .5), (20.9, .4), (31.8, .2), (39.2, .4)],
        ("cifar100", "dpmix"): [(14.1, .4), (21.5, .4), (33.3, .3), (40.6, .3)],
        ("eurosat", "selfaug"): [(75.4, .3), (81.1, .1), (85.8, .2), (89.7, .3)],
        ("eurosat", "dpmix"): [(75.7, .2), (82.8, .3), (87.4, .2), (90.8, .2)]}
    titles = {"selfaug": "Self-Aug", "dpmix": "DP-Mix_Self"}
    for (data, method), cells in published.items():
        for i, epsilon in enumerate((1, 2, 4, 8)):
            note = f"{STEPS_NOTE} {RATE_NOTE}" if epsilon in (2, 4) else STEPS_NOTE
            if data == "eurosat":
                note = "200 epochs, as stated; learning rate and a padding of 8 are ours."
            note += f" {UNSAID}" + " 16 mixes as in table 5." * (method == "dpmix")
            if (data, method, epsilon) in {("cifar10", "dpmix", 4), ("eurosat", "selfaug", 2)}:
                note += f" {UNCLEAR}"
            selfaug = f"bao2023/table2_{data}_selfaug_eps{epsilon}"
            mixed = method == "dpmix"
            yield Row(f"bao2023/table2_{data}_{method}_eps{epsilon}",
                      f"{DATA_NAMES[data]}, {eps(epsilon)}, {titles[method]}", bao2023(data, epsilon, method),
                      *cells[i], note=note, pair=selfaug if mixed else "",
                      gap=round(cells[i][0] - published[data, "selfaug"][i][0], 1) if mixed else None)

    # Table 1: what mixing two private examples costs. The noise of a pair counts double.
    plain = {"base": 1, "crop_padding": 0, "flip": False}
    pairs = {"units": "microbatch", "microbatch_size": 2}
    selfaug = "bao2023/table2_cifar10_selfaug_eps8"
    yield Row("bao2023/table1_cifar10_dpsgd_eps8", "micro-batch 1, DP-SGD", bao2023(augment=plain), 72.5, .5,
              note=f"{STEPS_NOTE} {UNSAID} That DP-SGD sees images as they are is our reading.")
    yield Row("bao2023/table1_cifar10_selfaug_eps8", "micro-batch 1, Self-Aug", {}, 78.7, .5, alias=selfaug)
    yield Row("bao2023/table1_cifar10_pairs_dpsgd_eps8", "micro-batch 2, DP-SGD",
              bao2023(augment=plain, privacy=pairs), 49.7, .7, note=f"{STEPS_NOTE} {UNSAID}")
    for mode in ("added", "replacing"):
        yield Row(f"bao2023/table1_cifar10_pairs_mixup_{mode}_eps8", f"micro-batch 2, mixup ({mode})",
                  bao2023(augment=plain, privacy=pairs | {"microbatch_mix": mode}), 50.1, .4,
                  note="One number is published for mixup, without saying whether the mix is added or replaces. "
                       f"{STEPS_NOTE} {UNSAID}")
    yield Row("bao2023/table1_cifar10_pairs_selfaug_eps8", "micro-batch 2, Self-Aug", bao2023(privacy=pairs), 52.8, .1,
              note=f"{STEPS_NOTE} {UNSAID}")

    # Table 4: other augmentations of the views. Their accuracies are not known to us, nor how they were combined.
    effects = {"jitter": {"color_jitter": True}, "affine": {"affine": True}, "cutout": {"cutout": 16},
               "noise": {"gaussian_noise": 0.1}, "blur": {"blur": True}, "sobel": {"sobel": True}}
    effects["all"] = {key: value for keys in effects.values() for key, value in keys.items()}
    note = f"Strengths are ours (augment/effects.h); with several on, each view gets one of them. {STEPS_NOTE} {UNSAID}"
    for name, keys in effects.items():
        yield Row(f"bao2023/table4_cifar10_{name}_eps8", f"Self-Aug and {name}", bao2023(augment=keys), note=note,
                  pair=selfaug)
    yield Row("bao2023/table4_cifar10_cutmix_eps8", "Self-Aug and cutmix among views",
              bao2023(method="dpmix", augment={"method": "cutmix"}),
              note=f"16 cutmixes beside 16 views. {STEPS_NOTE} {UNSAID}", pair=selfaug)

    # Table 5: as many views, but without mixes.
    yield Row("bao2023/table5_cifar10_views16_eps8", "16 views", {}, 78.8, .5, alias=selfaug)
    for views, accuracy, deviation in ((24, 78.5, .4), (32, 78.4, .3), (36, 78.6, .4)):
        yield Row(f"bao2023/table5_cifar10_views{views}_eps8", f"{views} views", bao2023(augment={"base": views}),
                  accuracy, deviation, note=f"{UNCLEAR} " * (views < 36) + f"{STEPS_NOTE} {UNSAID}")
    yield Row("bao2023/table5_cifar10_dpmix_eps8", "16 views and 16 mixes", {}, 79.8, .3,
              alias="bao2023/table2_cifar10_dpmix_eps8")

    # Table 11: their run of De et al.'s own code (JAX), median of five.
    for epsilon, cells in ((1, ((56.3, .3), (57.1, .4))), (8, ((79.4, .1), (80.0, .2)))):
        for method, (accuracy, deviation) in zip(("selfaug", "dpmix"), cells):
            name = f"bao2023/table11_cifar10_{method}_eps{epsilon}"
            yield Row(name, f"{eps(epsilon)}, {titles[method]}",
                      bao2023("cifar10", epsilon, method, augment={"padding": "symmetric"}), accuracy, deviation,
                      "median", note="De et al.'s steps and padding, as their code has them." +
                      " 16 mixes as in table 5." * (method == "dpmix"),
                      pair=name.replace("dpmix", "selfaug") if method == "dpmix" else "",
                      gap=round(accuracy - cells[0][0], 1) if method == "dpmix" else None)


def own_rows():
    """Questions that the papers leave open, and what the others are held against."""
    selfaug, dpmix = "bao2023/table2_cifar10_selfaug_eps1", "bao2023/table2_cifar10_dpmix_eps1"
    yield Row("own/control_cifar10_copies_eps1", "16 views and 16 copies of them in place of mixes",
              bao2023("cifar10", 1, "dpmix", augment={"mix_degenerate": True}), pair=selfaug)
    yield Row("own/control_cifar10_cutmix_eps1", "16 views and 16 cutmixes",
              bao2023("cifar10", 1, "dpmix", augment={"method": "cutmix"}), pair=selfaug)
    yield Row("own/control_cifar10_rdp_noise_eps1", "the noise that a Renyi accountant asks for (sigma 10)",
              bao2023("cifar10", 1, "selfaug", privacy={"epsilon": None, "noise_multiplier": 10.0}), pair=selfaug)
    for data, steps in (("cifar10", 39000), ("cifar100", 39000), ("eurosat", 16800)):
        yield Row(f"own/nonprivate_{data}_wrn16_4", f"{DATA_NAMES[data]} without privacy, WRN-16-4",
                  bao2023(data, 8, "selfaug", augment={"base": 1},
                          privacy={"epsilon": None, "clip_norm": None, "non_private": True},
                          train=dict(NONPRIVATE, steps=steps, evaluate_every=2000, checkpoint_every=500)),
                  note=NONPRIVATE_NOTE)
    for images, steps in ((5000, 2350), (10000, 4700)):
        yield Row(f"own/nonprivate_cifar10_wrn10_1_{images}",
                  f"CIFAR-10 without privacy, WRN-10-1 on {images:,} images",
                  bao2023("cifar10", 8, "selfaug", augment={"base": 1},
                          data={"train_limit": images, "validation": 5000, "examples": images},
                          model={"depth": 10, "width": 1},
                          privacy={"epsilon": None, "clip_norm": None, "non_private": True},
                          train=dict(NONPRIVATE, steps=steps, evaluate_every=470, checkpoint_every=100)),
                  note=NONPRIVATE_NOTE)


def small_rows():
    """The order of tables 1 and 2 at a size that two cores do in an hour: three seeds of the demo's net."""
    def small(base, mix=0, **sections):
        crop = {"crop_padding": 1, "padding": "reflect"} if base > 1 else {"crop_padding": 0}
        mixes = {"mix": mix, "mix_alpha": 0.2, "method": "mixup"} if mix else {}
        return changed({
            "data": DATA["fashion_mnist"], "model": {"name": "small_cnn", "weight_standardization": True},
            "augment": {"base": base, "flip": False} | crop | mixes,
            "privacy": {"epsilon": 3.0, "delta": 1e-5, "clip_norm": 1.0},
            "train": {"expected_batch_size": 1024, "steps": 900, "learning_rate": 4.0, "ema_decay": 0.9999,
                      "evaluate_every": 100, "checkpoint_every": 100, "seed": 1},
            "noise": {"source": "secure"}}, **sections)
    pairs = {"units": "microbatch", "microbatch_size": 2}
    name = "own/small_fashion_mnist_{}_eps3"
    plain, selfaug = name.format("dpsgd"), name.format("selfaug2")
    yield Row(plain, "micro-batch 1, DP-SGD", small(1))
    yield Row(name.format("pairs_dpsgd"), "micro-batch 2, DP-SGD", small(1, privacy=pairs), pair=plain)
    yield Row(name.format("pairs_mixup"), "micro-batch 2, mixup (added)",
              small(1, privacy=pairs | {"microbatch_mix": "added"}), pair=name.format("pairs_dpsgd"))
    yield Row(name.format("pairs_selfaug2"), "micro-batch 2, Self-Aug, 2 views", small(2, privacy=pairs),
              pair=name.format("pairs_dpsgd"))
    yield Row(selfaug, "Self-Aug, 2 views", small(2), pair=plain)
    yield Row(name.format("selfaug4"), "Self-Aug, 4 views", small(4), pair=selfaug)
    yield Row(name.format("dpmix"), "DP-Mix_Self, 2 views and 2 mixes", small(2, 2), pair=selfaug)
    # A deeper net on few images, where there is something to overfit: on held-out images, since nothing is published.
    few = {"train_limit": 10000, "validation": 5000, "examples": 10000}
    deep = {"model": {"depth": 10, "width": 1},
            "train": {"expected_batch_size": 512, "steps": 400, "learning_rate": 4.0}}
    name = "own/small_cifar10_wrn10_1_{}_eps8"
    yield Row(name.format("dpsgd"), "WRN-10-1 on 10,000 images of CIFAR-10, DP-SGD",
              bao2023(augment={"base": 1, "crop_padding": 0, "flip": False}, data=few, **deep))
    yield Row(name.format("selfaug4"), "WRN-10-1 on 10,000 images of CIFAR-10, Self-Aug, 4 views",
              bao2023(augment={"base": 4}, data=few, **deep), pair=name.format("dpsgd"))
    yield Row(name.format("dpmix"), "WRN-10-1 on 10,000 images of CIFAR-10, DP-Mix_Self, 4 views and 4 mixes",
              bao2023(method="dpmix", augment={"base": 4, "mix": 4}, data=few, **deep), pair=name.format("selfaug4"))


def tenth_rows():
    """Table 2 in small: a tenth of the images, of the batch and of the noise, so that the noise on the mean gradient is
    that of 800 steps on all of CIFAR-10 at epsilon 8 (noise multiplier 1.58), and images are seen as often. With a tenth
    of the noise its own epsilon is above a thousand: a rehearsal."""
    sections = {"data": {"train_limit": 5000, "validation": 5000, "examples": 5000},
                "model": {"depth": 10, "width": 1},
                "privacy": {"epsilon": None, "noise_multiplier": 0.1585},
                "train": {"expected_batch_size": 410, "steps": 800, "learning_rate": 4.0}}
    name = "own/tenth_cifar10_wrn10_1_{}"
    yield Row(name.format("dpsgd"), "DP-SGD, 1 view as it is",
              bao2023(augment={"base": 1, "crop_padding": 0, "flip": False}, **sections))
    yield Row(name.format("selfaug4"), "Self-Aug, 4 views", bao2023(augment={"base": 4}, **sections),
              pair=name.format("dpsgd"))
    yield Row(name.format("dpmix"), "DP-Mix_Self, 4 views and 4 mixes",
              bao2023(method="dpmix", augment={"base": 4, "mix": 4}, **sections), pair=name.format("selfaug4"))


ROWS = {row.name: row for rows in (de_rows(), bao_rows(), own_rows(), small_rows(), tenth_rows()) for row in rows}


def toml_value(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return repr(value)


def toml_of(row):
    """The text of a row's config."""
    lines = [f"# {row.name.split('/')[0]}: {row.title}."]
    if row.published is not None:
        deviation = f" +- {row.deviation}" if row.deviation else ""
        lines.append(f"# Published: {row.published}{deviation} %.")
    lines += textwrap.wrap(row.note, 118, initial_indent="# ", subsequent_indent="# ")
    lines.append("# Written by tools/reproduce --write-configs from tools/recipes.py.")
    for section, keys in row.config.items():
        lines += ["", f"[{section}]"] + [f"{key} = {toml_value(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"
