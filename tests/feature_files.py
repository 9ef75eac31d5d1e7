"""Tiny networks with random weights, saved as their own libraries save them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn


def save_dinov2(folder: Path, *, patch: int = 14, size: int = 84, seed: int = 0) -> Path:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(seed)
    config = Dinov2Config(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=size,
        patch_size=patch,
    )
    model = Dinov2Model(config)
    with torch.no_grad():  # so that patches, positions and images matter to the class token
        for name, parameter in model.named_parameters():
            if name.endswith(("norm1.weight", "norm2.weight", "layernorm.weight", "lambda1")):
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, 0.1 if "projection" in name else 0.5)
    return _saved(model, folder)


def save_clip(folder: Path, *, seed: int = 0) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    torch.manual_seed(seed)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    text = CLIPTextConfig(vocab_size=32, max_position_embeddings=8, bos_token_id=0, eos_token_id=1, **sizes)
    vision = CLIPVisionConfig(image_size=224, patch_size=56, **sizes)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    return _saved(CLIPModel(config), folder)


def save_vision_tower(folder: Path, *, projection: bool = False) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=224,
        patch_size=56,
        projection_dim=16,
    )
    kind = CLIPVisionModelWithProjection if projection else CLIPVisionModel
    return _saved(kind(config), folder)


def _saved(model: nn.Module, folder: Path) -> Path:
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.save_pretrained(folder)
    return folder


class Means(nn.Module):
    """The mean of each channel, times weights of its own: (B,C,H,W) -> (B,C,1,1)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, channels + 1).reshape(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True) * self.weight


class Detector(nn.Module):
    """Takes bytes and a switch, like NVIDIA's Inception file."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        features = x.float().flatten(2).mean(2)
        return features if return_features else features.softmax(1)


def save_script(module: nn.Module, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.jit.script(module).save(str(path))
    return path
