"""Small models as other programs save them: diffusers' folders, and EDM's snapshots with the program they need."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import torch

SMALL = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": 4,
}


def unet(seed: int = 0, **settings: Any) -> Any:
    """A U-Net of diffusers for 8x8 images with random weights, in evaluation mode."""
    from diffusers import UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(**(SMALL | settings)).eval()


def save_pipeline(folder: Path, network: Any = None, scheduler: Any = None) -> Path:
    """A pipeline as diffusers saves it."""
    from diffusers import DDPMPipeline, DDPMScheduler

    DDPMPipeline(network or unet(), scheduler or DDPMScheduler()).save_pretrained(folder)
    return folder


PERSISTENCE = """
import sys, types


def persistent_class(cls):
    class Decorator(cls):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._init_args, self._init_kwargs = args, kwargs

        def __reduce__(self):
            meta = dict(type="class", version=6, module_src=SOURCES[cls.__name__], class_name=cls.__name__)
            return (_reconstruct_persistent_obj, (dict(meta, state=self.__dict__),))

    Decorator.__name__ = cls.__name__
    return Decorator


SOURCES = {}


def _reconstruct_persistent_obj(meta):
    module = types.ModuleType("source")
    exec(meta["module_src"], module.__dict__)
    made = module.__dict__[meta["class_name"]]
    found = made.__new__(made)
    found.__dict__.update(meta["state"])
    return found
"""
"""What a snapshot's unpickling calls: it runs the source that lies in the file."""

NETWORKS = """
import torch
from torch_utils import persistence


@persistence.persistent_class
class Inner(torch.nn.Module):
    def __init__(self, width, labels):
        super().__init__()
        self.width = width
        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.label = torch.nn.Linear(labels, 1) if labels else None
        self.register_buffer("filter", torch.ones(2, 2))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x, noise, labels):
        shift = 0 if self.label is None else self.label(labels).reshape(-1, 1, 1, 1)
        return self.conv(x) + shift + noise.reshape(-1, 1, 1, 1)


@persistence.persistent_class
class EDMPrecond(torch.nn.Module):
    def __init__(
        self, img_resolution, img_channels, label_dim=0, sigma_min=0, sigma_max=80, sigma_data=0.5, width=4
    ):
        super().__init__()
        self.img_resolution, self.img_channels, self.label_dim = img_resolution, img_channels, label_dim
        self.sigma_min, self.sigma_max, self.sigma_data = sigma_min, sigma_max, sigma_data
        self.model = Inner(width, label_dim)

    def forward(self, x, sigma, class_labels=None, force_fp32=False):
        s = sigma.reshape(-1, 1, 1, 1)
        total = s**2 + self.sigma_data**2
        f = self.model(x / total.sqrt(), sigma.log() / 4, class_labels)
        return self.sigma_data**2 / total * x + s * self.sigma_data / total.sqrt() * f
"""


def install_program(folder: Path) -> None:
    """Write a program with the interface of EDM's, to be put on sys.path."""
    (folder / "torch_utils").mkdir(parents=True)
    (folder / "torch_utils" / "__init__.py").write_text("")
    (folder / "torch_utils" / "persistence.py").write_text(PERSISTENCE)
    (folder / "training").mkdir()
    (folder / "training" / "__init__.py").write_text("")
    (folder / "training" / "networks.py").write_text(NETWORKS)


def forget_program() -> None:
    """As if it had never been imported."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("training", "torch_utils")]:
        del sys.modules[name]


def save_snapshot(path: Path, **settings: Any) -> Any:
    """A snapshot of a random network; the program must be on sys.path. Returns the network."""
    from torch_utils import persistence  # type: ignore[import-not-found]
    from training import networks  # type: ignore[import-not-found]

    persistence.SOURCES.update(dict.fromkeys(("Inner", "EDMPrecond"), NETWORKS + MARK))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = networks.EDMPrecond(**({"img_resolution": 8, "img_channels": 1} | settings)).eval()
    network.requires_grad_(False)
    path.write_bytes(pickle.dumps({"ema": network, "loss_fn": Path("x"), "dataset_kwargs": {"path": "x"}}))
    return network


MARK = "\nimport sys; sys.snapshot_program_ran = True\n"
"""What the source in a snapshot does when it is run."""
