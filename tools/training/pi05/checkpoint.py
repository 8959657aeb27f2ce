"""A trained network as a policy directory: openpi's tensor names, its config, norm stats, and the manifest."""

import dataclasses
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pi05.network import Config

PALIGEMMA = "paligemma_with_expert.paligemma"
VISION = f"{PALIGEMMA}.model.vision_tower.vision_model"
PREFIX = f"{PALIGEMMA}.model.language_model"
EXPERT = "paligemma_with_expert.gemma_expert.model"

RENAMED = {
    "vision.embed.bias": f"{VISION}.embeddings.patch_embedding.bias",
    "vision.position": f"{VISION}.embeddings.position_embedding.weight",
    "vision.norm.weight": f"{VISION}.post_layernorm.weight",
    "vision.norm.bias": f"{VISION}.post_layernorm.bias",
    "vision.projector.weight": f"{PALIGEMMA}.model.multi_modal_projector.linear.weight",
    "vision.projector.bias": f"{PALIGEMMA}.model.multi_modal_projector.linear.bias",
    "embedding.weight": f"{PALIGEMMA}.lm_head.weight",
    "final.dense.weight": f"{EXPERT}.norm.dense.weight",
    "final.dense.bias": f"{EXPERT}.norm.dense.bias",
    "action_in": "action_in_proj",
    "action_out": "action_out_proj",
    "time_in": "time_mlp_in",
    "time_out": "time_mlp_out",
}
VISION_LAYER = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    **{name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")},
}
GEMMA_LAYER = {
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
    **{name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")},
    **{name: f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}


def openpi_name(name: str) -> str:
    if name in RENAMED:
        return RENAMED[name]
    room, rest = name.split(".", 1)
    if room in RENAMED:
        return f"{RENAMED[room]}.{rest}"
    if room == "vision":
        _, _, index, part, kind = name.split(".")
        return f"{VISION}.encoder.layers.{index}.{VISION_LAYER[part]}.{kind}"
    _, index, part, *kind = name.split(".")
    # A norm of the prefix is its weight; one of the expert has a dense layer.
    return f"{PREFIX if room == 'prefix' else EXPERT}.layers.{index}.{GEMMA_LAYER[part]}.{'.'.join(kind) or 'weight'}"


def patch_kernel(weight: Tensor, c: Config, enlargement: int) -> Tensor:
    """
    [W, 3·p·p] to a convolution's kernel [W, 3, p·e, p·e]. With e > 1 it is for the same image with every pixel repeated
    e × e, of which it gives the same.
    """
    kernel = weight.view(-1, 3, c.patch, c.patch) / enlargement**2
    return kernel.repeat_interleave(enlargement, 2).repeat_interleave(enlargement, 3)


def tensors_of(weights: dict[str, Tensor], c: Config, enlargement: int, dtype: torch.dtype) -> dict[str, Tensor]:
    result = {openpi_name(name): value for name, value in weights.items() if name != "vision.embed.weight"}
    kernel = patch_kernel(weights["vision.embed.weight"], c, enlargement)
    result[f"{VISION}.embeddings.patch_embedding.weight"] = kernel
    # Not used for actions, but part of every checkpoint.
    result[f"{PREFIX}.norm.weight"] = torch.zeros(c.prefix_width)
    return {name: value.to(dtype).contiguous() for name, value in sorted(result.items())}


def config_json(c: Config, enlargement: int, dtype: torch.dtype) -> dict:
    gemma = {"num_heads": c.heads, "num_kv_heads": 1, "head_dim": c.head_dim}
    return {
        "model_type": "pi05",
        "action_dim": c.action_dim,
        "action_horizon": c.horizon,
        "max_token_len": 200,
        "discrete_state_input": True,
        "precision": str(dtype).removeprefix("torch."),
        "vocab_size": c.vocabulary,
        "image_keys": ["base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"],
        "vision": {
            "width": c.vision_width,
            "depth": c.vision_depth,
            "heads": c.vision_heads,
            "mlp_dim": c.vision_mlp,
            "patch": c.patch * enlargement,
            "image_size": c.image_size * enlargement,
            "layer_norm_eps": 1e-6,
        },
        "paligemma": {"width": c.prefix_width, "depth": c.depth, "mlp_dim": c.prefix_mlp, **gemma},
        "action_expert": {"width": c.expert_width, "depth": c.depth, "mlp_dim": c.expert_mlp, **gemma},
        "rope_theta": c.rope_theta,
        "rms_norm_eps": 1e-6,
        "time_min_period": c.min_period,
        "time_max_period": c.max_period,
    }


def write_policy(
    saved: dict,
    out: Path,
    *,
    asset: str,
    fields: dict,
    enlargement: int = 1,
    dtype: torch.dtype = torch.float32,
) -> None:
    """
    Writes what `training.fit` left into the folder `out`, where the tokenizer lies already. Its `trained_delay`: most rows that
    the network was given; 0 when it is absent. `fields`: of the manifest, besides the files. `asset`: the folder of the norm
    stats under assets/.
    """
    c = Config(**saved["config"])
    stats = f"assets/{asset}/norm_stats.json"
    (out / stats).parent.mkdir(parents=True, exist_ok=True)
    metadata = {f"{PREFIX}.embed_tokens.weight": f"{PALIGEMMA}.lm_head.weight"}
    save_file(tensors_of(saved["weights"], c, enlargement, dtype), str(out / "model.safetensors"), metadata)
    given = {"rtc_training_max_delay": saved["trained_delay"]} if saved.get("trained_delay") else {}
    write_json(out / "config.json", config_json(c, enlargement, dtype) | given)
    write_json(out / stats, {"norm_stats": saved["stats"]})
    files = ["model.safetensors", "config.json", "tokenizer.model", stats]
    manifest = {
        "format": "turbo-pi.policy/1",
        **fields,
        "modelConfig": "config.json",
        "weights": "model.safetensors",
        "tokenizer": "tokenizer.model",
        "normStats": stats,
        "discreteState": True,
        "defaultSteps": 10,
        "digests": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files},
    }
    write_json(out / "policy.json", manifest)


def read_weights(policy: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a policy that `write_policy` wrote without enlargement, in float32; `like` has the network's names and shapes."""
    tensors = load_file(policy / "model.safetensors")
    kernel = tensors.pop(f"{VISION}.embeddings.patch_embedding.weight")
    named = {name: kernel if name == "vision.embed.weight" else tensors[openpi_name(name)] for name in like}
    return {name: named[name].float().view(value.shape) for name, value in like.items()}


def read_stats(policy: Path, asset: str) -> dict:
    """Its norm stats, as `saved["stats"]`."""
    return json.loads((policy / f"assets/{asset}/norm_stats.json").read_text())["norm_stats"]


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def sizes(c: Config) -> dict:
    """For `saved["config"]`."""
    return dataclasses.asdict(c)
