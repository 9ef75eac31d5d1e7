"""A training program as diffusers' own ones are written, which watches when its samples become copies.

    python examples/accelerate_diffusers.py --out model
    accelerate launch --num_processes 2 examples/accelerate_diffusers.py --out model     # the same numbers

A small UNet2DModel learns 64 of scikit-learn's digits by predicting noise. Three lines concern unrote: the U-Net with
its scheduler becomes a denoiser, `Watch` is told the training set and held-out images, and `on_step` is called after
each update. The pipeline that is saved at the end can be probed:

    unrote probe --model model/pipeline --train digits --test digits
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from unrote.denoise.foreign import from_diffusers
from unrote.jobs.watching import Watch, WatchOptions

BATCH = 32


def build(channels: int) -> UNet2DModel:
    """A U-Net for 8x8 images."""
    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(channels, 2 * channels),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )


def main() -> None:
    """Train, watch, save, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="model")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--smoke", action="store_true", help="a run of seconds, to see that it works")
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()
    steps, channels, samples = (8, 8, 16) if given.smoke else (given.steps, 32, 256)

    # Every process takes its share of the same batch, so that their number changes nothing.
    accelerator = Accelerator(cpu=given.cpu, dataloader_config=DataLoaderConfiguration(split_batches=True))
    images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    train, held_out = images[:64], images[64:1088]

    torch.manual_seed(0)
    unet, scheduler = build(channels), DDPMScheduler(clip_sample=False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    shuffled = DataLoader(
        TensorDataset(train), BATCH, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0)
    )
    trained, optimizer, loader = accelerator.prepare(unet, optimizer, shuffled)

    options = WatchOptions(out=Path(given.out) / "watch", first=max(1, steps // 40), samples=samples)
    watch = Watch(*from_diffusers(unet, scheduler), train, held_out, options)

    step = 0
    while step < steps:
        for (x,) in loader:
            step += 1
            g = torch.Generator().manual_seed(step)
            whole = torch.randn(BATCH, *x.shape[1:], generator=g), torch.randint(1000, (BATCH,), generator=g)
            noise, time = (
                part.tensor_split(accelerator.num_processes)[accelerator.process_index].to(x.device)
                for part in whole
            )
            noisy = scheduler.add_noise(x, noise, time)
            loss = functional.mse_loss(trained(noisy, time).sample, noise)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            watch.on_step(step)
            if step == steps:
                break

    if accelerator.is_main_process:
        place = Path(given.out) / "pipeline"
        DDPMPipeline(unet, scheduler).save_pretrained(place)
        watch.on_checkpoint(step, place)
        for m in watch.history:
            print(
                f"step {m.step:>6,}  loss on training images {m.train_loss.value:.3f}  on held-out images "
                f"{m.validation_loss.value:.3f}  copies {m.copy_ratio.value:.1%}"
            )
    accelerator.wait_for_everyone()
    accelerator.end_training()


if __name__ == "__main__":
    main()
