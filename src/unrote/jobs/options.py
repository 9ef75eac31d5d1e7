"""The settings of every command, from which its flags are generated; no slow imports here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from unrote.jobs.options_common import Common, Device, Gate, Repeated, Seeded
from unrote.jobs.options_forecast import ForecastOptions  # noqa: F401, looked up here by its name
from unrote.jobs.training_sizes import IMAGES, TEXT


@dataclass(frozen=True, kw_only=True)
class AuditOptions(Gate, Seeded, Common):
    """Are these samples copies? Which, of what, how sure are you?"""

    train: str
    """The training set that --samples are held against: a folder of images, arrays, Parquet, digits, or a file of text
    (see `unrote --help`)."""
    samples: Repeated
    """The generated samples, spelled like --train. Given several times (--samples A --samples B), the sets are
    compared with each other."""
    names: tuple[str, ...] = ()
    """What to call the sets where there are several, in their order."""
    test: str | None = None
    """Held-out real images: what the copy ratio of fresh real data would be."""
    out: Path = Path("audit")
    fidelity: bool = False
    """Also quality: Frechet distance, precision, recall, coverage and the test for data-copying (with --test).
    Together they cost about as much as the search for copies."""
    features: str | None = None
    """Also similarity in features, and quality in them instead of in pixels: pixels, pca:64, classifier,
    sscd:FILE, dinov2:FOLDER, clip:FOLDER, inception:FILE or torchscript:FILE."""
    profile: str | None = None
    """How images are prepared for --features, where it is not their usual way; also written FILE@NAME."""
    similarity_threshold: float | None = None
    """Samples more similar than this to a training image, in features, are copies by that definition. Otherwise
    what the profile's authors use, or what 1 % of the held-out images (--false-positives) are above."""
    factor: float = 3.0
    """A copy is nearer than the second neighbour's distance divided by this factor."""
    duplicate_threshold: float = 0.08
    """Training images are near-duplicates within this root-mean-square pixel distance (pixels 0 to 1)."""
    absolute_threshold: float = 0.05
    """The absolute definition of a copy: root-mean-square pixel distance below this (pixels 0 to 1).
    Held-out images this near to a training image are left out of the calibration."""
    false_positives: float = 0.01
    """The calibrated definition calls this share of held-out images copies."""
    confidence: float = 0.95
    """Confidence of every interval."""
    resize: int | None = None
    """Resize every image to this many pixels a side (Lanczos), so that mixed sizes can be compared."""
    train_range: tuple[float, float] | None = None
    """The pixel range of float arrays in --train and --test, where it cannot be told from the values."""
    samples_range: tuple[float, float] | None = None
    """The pixel range of float arrays in --samples, where it cannot be told from the values."""
    memory: int = 1024
    """Mebibytes that a search may take beyond the images themselves."""
    window: int | None = None
    """Of text: characters of a window, which is what is compared; the length of the samples' lines unless given."""
    stride: int | None = None
    """Of text: how far apart training windows begin, the window's length unless given; 1 compares every place."""
    normalize: Literal["spell", "drop"] | None = None
    """Of text: bring it to a-z and the space as text8 was, digits spelled as words or dropped; else other characters
    are refused."""
    hamming_threshold: float | None = None
    """Of text: a copy differs from its nearest training window in at most this share of the characters; 0.25 unless
    given."""
    passage_threshold: int | None = None
    """Of text: by the definition of passages, a copy shares a passage of at least so many characters with the training
    text; 64 unless given, three quarters of shorter windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "samples", self.sets)
        object.__setattr__(self, "names", tuple(self.names))

    @property
    def sets(self) -> tuple[str, ...]:
        """The DATA arguments of --samples."""
        # In Python one set is as often a string.
        return (self.samples,) if isinstance(self.samples, str) else tuple(self.samples)


@dataclass(frozen=True, kw_only=True)
class GeometryOptions(Seeded, Common):
    """Before anyone trains: at which noise levels will a model copy, are there duplicates, what to do?"""

    train: str
    """The training set (see `unrote --help`)."""
    test: str | None = None
    """Held-out real images, for the shell coverage; without them training images are left out one by one."""
    out: Path = Path("geometry")
    low: float | None = None
    """The lowest noise level (sigma, pixels -1 to 1); chosen from the data if it is not given."""
    high: float | None = None
    """The highest noise level; chosen from the data if it is not given."""
    levels: int | None = None
    """How many levels from --low to --high, equally spaced in log sigma; 12 per factor e if it is not given."""
    points: int = 1000
    """Training images, and held-out images, that are noised at every level, at most; drawn at random."""
    duplicate_threshold: float = 0.08
    """Training images are near-duplicates within this root-mean-square pixel distance (pixels 0 to 1)."""
    resize: int | None = None
    """Resize every image to this many pixels a side (Lanczos)."""
    train_range: tuple[float, float] | None = None
    """The pixel range of float arrays, where it cannot be told from the values."""
    memory: int = 512
    """Mebibytes that a search may take beyond the images themselves."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Gate, Seeded, Device, Common):
    """Train a diffusion model and watch copying start."""

    train: str
    """The training set: images, or a file of text, of which windows are learned (see `unrote --help`)."""
    test: str | None = None
    """Held-out real images or text for the validation loss and the quality of samples; else a tenth is held out."""
    out: Path = Path("run")
    recipe: str = "baseline"
    """How examples and levels are drawn. baseline is EDM's training; gap, dummy, ambient, noisy-only and masking are
    cures for copying, of which + joins several (gap+ambient). A comma lists recipes to compare (baseline,gap)."""
    gap: tuple[float, float] | None = None
    """Of the cure gap: the lowest and the highest noise level to leave out (sigma, pixels -1 to 1)."""
    gap_rule: Literal["reject", "skip"] = "reject"
    """What becomes of updates that fall into the gap: reject draws their level again, so that the other levels are
    trained more often; skip drops the row, so that they are trained as often as without a gap."""
    ambient: float | None = None
    """Of the cures ambient and noisy-only: the noise of the noisy copies (sigma, pixels -1 to 1)."""
    ambient_rule: Literal["rows-first", "levels-first"] = "rows-first"
    """Of the cure ambient: rows-first trains noisy copies and clean images equally often, levels-first as often as
    the law of levels has it."""
    hidden: float | None = None
    """Of the cure masking: the share of every image's pixels that is hidden for good; 0.5 unless given."""
    flip: bool = False
    """Train on every image also mirrored, left to right; copies are then counted against both."""
    from_model: Annotated[Path | None, arg(name="from")] = None
    """Start from a trained model, spelled like --model of `unrote probe`, and not from random weights."""
    network: Literal["mlp", "unet", "transformer"] | None = None
    """A residual MLP (mlp, for images up to about 16x16; what images have unless it is given), diffusers' U-Net (unet),
    or for text a transformer."""
    width: int | None = None
    """Width of the MLP or the transformer, or channels of the U-Net's first level; 512 unless given, 64 for text."""
    depth: int | None = None
    """Residual blocks of the MLP, levels of the U-Net, or blocks of the transformer; 3 unless given, 2 for text."""
    dropout: float = 0.0
    """Dropout probability inside the network."""
    conditional: bool = False
    """Train on the labels of the data set."""
    steps: int | None = None
    """Optimisation steps; 2000 unless given, 12000 for text."""
    batch_size: int | None = None
    """Images or windows a step; 64 unless given, 16 for text."""
    learning_rate: float = 1e-3
    """Adam's learning rate."""
    ema_decay: float = 0.998
    """Decay of the averaged weights, which are the ones that are sampled and measured."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    samples: int | None = None
    """Samples drawn at every checkpoint to measure copying; 512 unless given, 256 for text."""
    checkpoints: int = 10
    """How many times, spread over the steps, the run is measured and saved."""
    stop_early: bool = False
    """Keep the measured step with the lowest loss on held-out images, and nothing after it."""
    stop_gap: float | None = None
    """End the run where the loss on held-out images is surely more than this share above the one on training images
    (1: twice as high; 0.9 kept copies away in what was measured), and keep the last step at which it was not; checked
    on the way for 1 percent of the cost."""
    both_weights: bool = False
    """Also draw samples of the raw weights at every checkpoint; without, only their losses are measured."""
    features: str | None = None
    """Also the Frechet distance of the samples to --test, in features spelled as for `unrote audit`: pixels, pca:16,
    classifier, dinov2:FOLDER and so on."""
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision on a GPU; on a CPU it is slower."""
    duplicate_threshold: float = 0.08
    """Training images are near-duplicates within this root-mean-square pixel distance (pixels 0 to 1)."""
    resize: int | None = None
    """Resize every image to this many pixels a side (Lanczos)."""
    train_range: tuple[float, float] | None = None
    """The pixel range of float arrays, where it cannot be told from the values."""
    window: int | None = None
    """Of text: characters of a window, which is what is learned and drawn; 32 unless given, or the lines' length where
    all lines of the file have one."""
    stride: int | None = None
    """Of text: how far apart training windows begin, the window's length unless given; 1 learns every place."""
    normalize: Literal["spell", "drop"] | None = None
    """Of text: bring it to a-z and the space as text8 was, digits spelled as words or dropped; else other characters
    are refused."""
    heads: int | None = None
    """Of text: heads of attention in each block of the transformer; 4 unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        from unrote.data.text import is_text  # slow, and not needed for help

        for name, value in vars(TEXT if is_text(self.train) else IMAGES).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.from_model is not None:
            object.__setattr__(self, "from_model", Path(self.from_model))


@dataclass(frozen=True, kw_only=True)
class AdviseOptions(Common):
    """Which remedy keeps copying below a limit at the best quality? By fronts that were measured."""

    copies: float | None = None
    """Fewer copies than this share of the samples, surely; among such remedies the best quality. 0.01 unless --worse
    is given."""
    worse: float | None = None
    """Instead: quality worse than the baseline's by less than this share; among such remedies the fewest copies."""
    front: UseAppendAction[tuple[Path, ...]] = ()
    """A folder of `unrote train --recipe baseline,...`: a front of your own; may be given several times, and folders
    that differ in the seed alone are pooled."""
    train: str | None = None
    """Your training set (see `unrote --help`): the nearest measured setting counts, with the levels of your data."""
    test: str | None = None
    """Held-out real images of the same kind, as for `unrote geometry`."""
    network: Literal["mlp", "unet"] | None = None
    """Only fronts of this network, of those that are known; all of --front count."""
    out: Path = Path("advice")
    resize: int | None = None
    """Resize every image to this many pixels a side (Lanczos)."""
    train_range: tuple[float, float] | None = None
    """The pixel range of float arrays, where it cannot be told from the values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "front", tuple(map(Path, self.front)))


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(Seeded, Device, Common):
    """At which noise levels does this model copy?"""

    model: Path
    """A run folder of `unrote train` or one of its checkpoint files, a folder of diffusers (UNet2DModel) or its
    name on the hub, if its files are in the local cache, or an EDM snapshot."""
    train: str
    """The training set of the model."""
    test: str
    """Held-out real images, which are noised and denoised once."""
    other: Path | None = None
    """A second model for the same images, such as one that was trained on more of them, beside the first."""
    out: Path = Path("probe")
    levels: int = 18
    """How many noise levels of EDM's grid (0.002 to 80, or what the model knows of it)."""
    points: int = 512
    """Images of each set that are noised at every level."""
    raw: bool = False
    """Probe the raw weights rather than their moving average."""
    unsafe_pickle: bool = False
    """Unpickle an EDM snapshot, which runs the programs in it; `unrote convert` takes its weights out instead."""
    duplicate_threshold: float = 0.08
    """Training images are near-duplicates within this root-mean-square pixel distance (pixels 0 to 1)."""
    resize: int | None = None
    """Resize every image to this many pixels a side (Lanczos)."""
    train_range: tuple[float, float] | None = None
    """The pixel range of float arrays, where it cannot be told from the values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "model", Path(self.model))
        if self.other is not None:
            object.__setattr__(self, "other", Path(self.other))


@dataclass(frozen=True, kw_only=True)
class SwapOptions(Seeded, Device, Common):
    """Which noise levels cause the copying? Samples of one model, with some levels denoised by another."""

    model: Path
    """Model A, which copies --train: a run folder of `unrote train` or one of its checkpoint files, a folder of
    diffusers or its name on the hub, or an EDM snapshot."""
    other: Path
    """Model B for images of the same shape, which does not copy it: trained on more or on other images."""
    train: str
    """The training set that copies are looked for in, A's own (see `unrote --help`)."""
    test: str | None = None
    """Held-out real images, for the quality of the samples and the calibration of the copy ratio."""
    out: Path = Path("swap")
    window: UseAppendAction[tuple[tuple[float, float], ...]] = ()
    """Also swap all levels from a lowest to a highest one (sigma, pixels -1 to 1); may be given several times."""
    steps_window: UseAppendAction[tuple[tuple[int, int], ...]] = ()
    """Also swap the levels with these numbers, first and last, the highest level being the first; may be given
    several times."""
    index_base: Literal[0, 1] | None = None
    """The number of the first step in --steps-window; 0 if it is not given."""
    map: bool = False
    """Also swap every window of the schedule in both directions: 171 windows for 18 levels."""
    levels: int = 18
    """How many noise levels of EDM's grid (0.002 to 80, or what both models know of it)."""
    sampler: Literal["euler", "heun"] = "euler"
    """How samples are drawn: Euler's steps, as in the paper, or Heun's."""
    samples: int = 512
    """Samples of every window; the same noise starts all of them."""
    features: str | None = None
    """Quality in features instead of in pixels, spelled as for `unrote audit`: pca:64, classifier, dinov2:FOLDER,
    inception:FILE, torchscript:FILE and so on; pca and classifier are made from --train."""
    raw: bool = False
    """Sample the raw weights rather than their moving average."""
    unsafe_pickle: bool = False
    """Unpickle an EDM snapshot, which runs the programs in it; `unrote convert` takes its weights out instead."""
    duplicate_threshold: float = 0.08
    """Training images are near-duplicates within this root-mean-square pixel distance (pixels 0 to 1)."""
    resize: int | None = None
    """Resize every image to this many pixels a side (Lanczos)."""
    train_range: tuple[float, float] | None = None
    """The pixel range of float arrays, where it cannot be told from the values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "model", Path(self.model))
        object.__setattr__(self, "other", Path(self.other))


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Take the weights out of an EDM snapshot, without running the programs in it."""

    model: Path
    """The snapshot, network-snapshot-*.pkl."""
    out: Path
    """The file to write, *.safetensors: weights, and how their network is built."""
    overwrite: bool = False
    """Replace what is at --out."""
    json: bool = False
    """Print the result, and nothing else, as JSON on standard output."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", Path(self.model))
        object.__setattr__(self, "out", Path(self.out))


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Seeded, Common):
    """Show everything, now, on data that ships with a dependency: scikit-learn's digits."""

    out: Path = Path("demo")
    small: int = 32
    """Training images of the model that is expected to copy, and of the one that is trained with a gap."""
    large: int = 1024
    """Training images of the model that is expected not to."""
    steps: int = 2000
    """Optimisation steps of each model."""
    samples: int = 512
    """Samples that are audited of each model."""


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(Common):
    """Does the paper's figure hold?"""

    experiment: Positional[str] = "?"
    """Which experiment, for example first-look; without one the experiments are listed."""
    scale: Literal["smoke", "laptop", "paper"] = "smoke"
    """Seconds, minutes on two cores, or the paper's own scale on a GPU."""
    data: Path | None = None
    """A folder of picture sets (fashion_mnist, as Parquet) for the experiments that need them; also UNROTE_DATA."""
    out: Path = Path("reproduction")
    workers: int = 2
    """Processes."""
    record: bool = False
    """Append the runs to the ledger in the source tree; every run made at a claim's scale counts."""


@dataclass(frozen=True, kw_only=True)
class ClaimsOptions:
    """What has been reproduced, at which scale, with which numbers?"""

    json: bool = False
    """Print the ledger as JSON."""
