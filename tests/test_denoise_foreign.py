"""Models of others are the denoisers that their own programs would make of them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from strangers import unet
from torch import nn

from unrote.contracts import InputError
from unrote.denoise.compose import edm, vp_eps, vp_v, x0
from unrote.denoise.foreign import built, check_runs, from_diffusers, from_function, from_module
from unrote.denoise.schedulers import scheduler_of, table_clock, translate
from unrote.noise.schedule import cosine_alpha_bars, linear_alpha_bars, sigma_of_alpha_bar, sigma_of_timestep
from unrote.sample.steps import edm_start, euler, trajectory, vp_start


def sampled_by_diffusers(network, scheduler, z, label=None):
    """DDIM as diffusers runs it, and sigma at its timesteps."""
    x = z
    with torch.no_grad():
        for t in scheduler.timesteps:
            out = network(x, t, class_labels=label).sample[:, : z.shape[1]]
            x = scheduler.step(out, t, x).prev_sample
    return x, sigma_of_alpha_bar(scheduler.alphas_cumprod.double()[scheduler.timesteps])


def ended(denoiser, x, levels, label=None):
    *_, last = trajectory(
        euler, lambda x, s, c=None: denoiser(x, s, label), x, torch.cat([levels, torch.zeros(1)])
    )
    return last.detach()


def assert_within(ours, theirs, tolerance=1e-4):
    """Largest difference, relative to the largest pixel where that is above 1."""
    assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_euler_is_the_ddim_of_diffusers(prediction, betas, generator) -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(prediction_type=prediction, beta_schedule=betas, clip_sample=False)
    scheduler.set_timesteps(20)
    network = unet()
    z = torch.randn(4, 1, 8, 8, generator=generator)
    theirs, levels = sampled_by_diffusers(network, scheduler, z)
    denoiser, _ = from_diffusers(network, scheduler)
    with torch.no_grad():
        assert_within(ended(denoiser, vp_start(z, float(levels[0])), levels), theirs)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_every_spacing_of_timesteps(prediction, generator) -> None:
    from diffusers import DDIMScheduler

    network = unet()
    z = torch.randn(2, 1, 8, 8, generator=generator)
    # With "linspace" diffusers steps from every t to t - 10, whatever the next one is: no path of any ODE.
    for spacing in ("leading", "trailing"):
        scheduler = DDIMScheduler(
            prediction_type=prediction, timestep_spacing=spacing, clip_sample=False, num_train_timesteps=100
        )
        scheduler.set_timesteps(10)
        theirs, levels = sampled_by_diffusers(network, scheduler, z)
        denoiser, _ = from_diffusers(network, scheduler)
        with torch.no_grad():
            assert_within(ended(denoiser, vp_start(z, float(levels[0])), levels), theirs)


def test_learned_variance_is_left_aside(generator) -> None:
    from diffusers import DDPMScheduler

    network = unet(out_channels=2)
    denoiser, card = from_diffusers(network, DDPMScheduler(variance_type="learned_range"))
    x = torch.randn(3, 1, 8, 8, generator=generator)
    sigma = sigma_of_timestep(torch.tensor([10.0, 500.0, 900.0]), linear_alpha_bars())
    with torch.no_grad():
        state = x / (1 + sigma**2).sqrt().reshape(-1, 1, 1, 1).float()
        eps = network(state, torch.tensor([10, 500, 900])).sample[:, :1]
        expected = x - sigma.float().reshape(-1, 1, 1, 1) * eps
        assert_within(denoiser(x, sigma.float()), expected, 1e-5)
    assert any("variance" in note for note in card.notes)


def test_labels_reach_the_network_and_equal_the_samples_of_diffusers(generator) -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(prediction_type="v_prediction", clip_sample=False)
    scheduler.set_timesteps(10)
    network, label = unet(num_class_embeds=5), torch.tensor([0, 3, 4])
    z = torch.randn(3, 1, 8, 8, generator=generator)
    theirs, levels = sampled_by_diffusers(network, scheduler, z, label)
    denoiser, card = from_diffusers(network, scheduler)
    assert card.classes == 5
    with torch.no_grad():
        ours = ended(denoiser, vp_start(z, float(levels[0])), levels, label)
        assert_within(ours, theirs)
        other = ended(denoiser, vp_start(z, float(levels[0])), levels, label.flip(0))
    assert float((other - theirs).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="labels"):
        denoiser(z, torch.ones(3))


def test_a_network_without_classes_refuses_labels() -> None:
    from diffusers import DDPMScheduler

    denoiser, _ = from_diffusers(unet(), DDPMScheduler())
    with pytest.raises(ValueError, match="ignore"):
        denoiser(torch.zeros(2, 1, 8, 8), torch.ones(2), torch.tensor([0, 1]))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sigma_data", [0.5, 0.3])
def test_euler_is_the_edm_euler_of_diffusers(prediction, sigma_data, generator) -> None:
    from diffusers import EDMEulerScheduler

    scheduler = EDMEulerScheduler(prediction_type=prediction, sigma_data=sigma_data)
    scheduler.set_timesteps(12)
    network = unet()
    z = torch.randn(3, 1, 8, 8, generator=generator)
    x = z * scheduler.sigmas[0]
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(network(scheduler.scale_model_input(x, t), t).sample, t, x).prev_sample
        denoiser, card = from_diffusers(network, scheduler)
        ours = ended(denoiser, edm_start(z, float(scheduler.sigmas[0])), scheduler.sigmas[:-1].double())
    assert_within(ours, x)
    assert (card.low, card.high) == (0.002, 80.0)


def test_the_multistep_scheduler_of_edm_has_the_same_network(generator) -> None:
    from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

    network, x = unet(), torch.randn(2, 1, 8, 8, generator=generator)
    one, other = (
        from_diffusers(network, made())[0] for made in (EDMEulerScheduler, EDMDPMSolverMultistepScheduler)
    )
    with torch.no_grad():
        assert torch.equal(one(x, torch.tensor([0.1, 5.0])), other(x, torch.tensor([0.1, 5.0])))


def test_a_continuous_euler_scheduler_is_translated_too(generator) -> None:
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        timestep_type="continuous",
        sigma_min=0.01,
        sigma_max=50.0,
        use_karras_sigmas=True,
    )
    scheduler.set_timesteps(10)
    network, z = unet(), torch.randn(2, 1, 8, 8, generator=generator)
    denoiser, card = from_diffusers(network, scheduler)
    x = z * scheduler.sigmas[0]
    levels = scheduler.sigmas[:-1].double()
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(network(scheduler.scale_model_input(x, t), t).sample, t, x).prev_sample
        assert_within(ended(denoiser, edm_start(z, float(levels[0])), levels), x)
    assert card.low <= 0.0101
    assert card.high >= 49.9


@pytest.mark.parametrize(
    "name",
    [
        "DDPMScheduler",
        "PNDMScheduler",
        "EulerDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "HeunDiscreteScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_how_a_scheduler_samples_is_no_part_of_its_network(name, generator) -> None:
    import diffusers

    network, x = unet(), torch.randn(2, 1, 8, 8, generator=generator)
    levels = torch.tensor([0.1, 5.0])
    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
    one, other = (from_diffusers(network, getattr(diffusers, n)(**betas))[0] for n in ("DDIMScheduler", name))
    with torch.no_grad():
        assert torch.equal(one(x, levels), other(x, levels))


# The clock


def test_the_clock_tells_every_timestep_back() -> None:
    for table in (linear_alpha_bars(), cosine_alpha_bars(), linear_alpha_bars(50, 0.001, 0.2)):
        step = torch.arange(len(table), dtype=torch.float64)
        back = table_clock(table)(sigma_of_timestep(step, table).float())
        # float32 levels resolve a step to about a part in 1e7 of sigma over the spacing of the levels.
        assert float((back - step).abs().max()) < 2e-3
        between = step[:-1] + 0.5
        assert float((table_clock(table)(sigma_of_timestep(between, table)) - between).abs().max()) < 1e-6


def test_whole_timesteps_are_the_nearest() -> None:
    table = linear_alpha_bars()
    sigma = sigma_of_timestep(torch.tensor([3.4, 3.6, 998.7]).double(), table)
    assert table_clock(table, whole=True)(sigma).tolist() == [3.0, 4.0, 999.0]


@pytest.mark.parametrize("sigma", [0.0099, 158.0, 0.0])
def test_levels_outside_the_table_are_refused_with_its_ends(sigma) -> None:
    with pytest.raises(InputError, match=r"0\.01 to 157\.4"):
        table_clock(linear_alpha_bars())(torch.tensor([1.0, sigma]))


def test_ends_of_the_table_survive_rounding_to_float32() -> None:
    table = cosine_alpha_bars()
    ends = sigma_of_alpha_bar(table[[0, -1]]).float()
    assert table_clock(table)(ends).tolist() == pytest.approx([0.0, 999.0], abs=1e-3)


def test_networks_with_a_table_of_timesteps_are_told_whole_ones(generator) -> None:
    from diffusers import DDPMScheduler

    network = unet(time_embedding_type="learned", num_train_timesteps=1000)
    denoiser, card = from_diffusers(network, DDPMScheduler())
    assert any("whole timesteps" in note for note in card.notes)
    x = torch.randn(1, 1, 8, 8, generator=generator)
    sigma = sigma_of_timestep(torch.tensor([500.3]).double(), linear_alpha_bars()).float()
    with torch.no_grad():
        eps = network(x / float((1 + sigma**2).sqrt()), torch.tensor([500])).sample
        assert_within(denoiser(x, sigma), x - float(sigma) * eps, 1e-5)


def test_zero_terminal_snr_ends_one_timestep_earlier() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert float(scheduler.alphas_cumprod[-1]) == 0
    translation = translate(scheduler)
    assert math.isfinite(translation.high)
    assert translation.high == pytest.approx(float(sigma_of_alpha_bar(scheduler.alphas_cumprod[-2].double())))
    assert any("pure noise" in note for note in translation.notes)


def test_clipping_is_told() -> None:
    from diffusers import DDIMScheduler

    assert any("clip_sample" in n for n in translate(DDIMScheduler()).notes)
    assert any("thresholding" in n for n in translate(DDIMScheduler(thresholding=True)).notes)
    assert translate(DDIMScheduler(clip_sample=False)).notes == ()


# What cannot be translated


def test_unknown_schedulers_and_predictions_name_the_known() -> None:
    from diffusers import CMStochasticIterativeScheduler, FlowMatchEulerDiscreteScheduler

    for scheduler in (FlowMatchEulerDiscreteScheduler(), CMStochasticIterativeScheduler()):
        with pytest.raises(InputError, match=r"DDPMScheduler.*EDMEulerScheduler.*v_prediction"):
            translate(scheduler)
    from diffusers import DPMSolverMultistepScheduler, EDMDPMSolverMultistepScheduler

    with pytest.raises(InputError, match="flow_prediction"):
        translate(DPMSolverMultistepScheduler(prediction_type="flow_prediction"))
    with pytest.raises(InputError, match="EDM's preconditioning"):
        translate(EDMDPMSolverMultistepScheduler(prediction_type="sample"))
    with pytest.raises(InputError, match="is not known"):
        scheduler_of({"_class_name": "os.system"})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"class_embed_type": "timestep"}, "num_class_embeds"),
        ({"out_channels": 3}, "takes 1 channels and gives 3"),
        ({"center_input_sample": True}, r"\[0, 1\]"),
    ],
)
def test_networks_that_are_no_denoisers_of_images_in_the_unit_range(settings, says) -> None:
    from diffusers import DDPMScheduler

    with pytest.raises(InputError, match=says):
        from_diffusers(unet(**settings), DDPMScheduler())
    with pytest.raises(InputError, match="UNet2DModel"):
        from_diffusers(nn.Linear(2, 2), DDPMScheduler())


def test_what_cannot_run_is_told_before_anything_else() -> None:
    from diffusers import DDPMScheduler, EDMEulerScheduler

    denoiser, card = from_diffusers(unet(), DDPMScheduler())
    check_runs(denoiser, card, (1, 8, 8))
    with pytest.raises(InputError, match=r"shape \(1, 7, 7\)"):
        check_runs(denoiser, card, (1, 7, 7))
    # This clock takes logarithms of its timestep, and EDM's are negative below sigma = 1.
    denoiser, card = from_diffusers(unet(time_embedding_type="fourier"), EDMEulerScheduler())
    with pytest.raises(InputError, match="not finite"):
        check_runs(denoiser, card, (1, 8, 8))


# Sharing and building again


def test_the_denoiser_follows_the_weights_of_the_network(generator) -> None:
    from diffusers import DDPMScheduler

    network, x = unet().train(), torch.randn(1, 1, 8, 8, generator=generator)
    denoiser, _ = from_diffusers(network, DDPMScheduler())
    assert network.training
    with torch.no_grad():
        before = denoiser(x, torch.ones(1))
        network.conv_out.bias += 1.0
        after = denoiser(x, torch.ones(1))
    assert torch.allclose(before - after, torch.ones_like(x), atol=1e-5)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EDMEulerScheduler"])
def test_a_description_builds_the_same_denoiser(name, generator) -> None:
    import json

    import diffusers

    network = unet(num_class_embeds=3)
    scheduler = getattr(diffusers, name)(prediction_type="v_prediction")
    denoiser, card = from_diffusers(network, scheduler)
    again, card_again = built(json.loads(json.dumps(card.build)))
    again.load_state_dict(copy.deepcopy(denoiser.state_dict()))
    x, label = torch.randn(2, 1, 8, 8, generator=generator), torch.tensor([0, 2])
    with torch.no_grad():
        assert torch.equal(denoiser(x, torch.ones(2), label), again(x, torch.ones(2), label))
    assert card_again == card


def test_building_leaves_the_global_stream_alone() -> None:
    from diffusers import DDPMScheduler

    _, card = from_diffusers(unet(), DDPMScheduler())
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    built(card.build)
    assert torch.equal(torch.rand(2), expected)


# Functions and modules


class Time(nn.Module):
    """Returns its time, or label, in every pixel."""

    def forward(self, x, time, label=None):
        return torch.zeros_like(x) + (time if label is None else label).reshape(-1, 1).to(x.dtype)


def test_modules_take_the_named_preconditionings() -> None:
    x, sigma = torch.ones(2, 3), torch.tensor([0.5, 2.0])
    scale = (1 + sigma**2).rsqrt()[:, None]
    time = lambda s: 0 * s + 7.0  # noqa: E731
    by_hand = {
        vp_eps(time): x - sigma[:, None] * 7,
        vp_v(time): scale**2 * x - sigma[:, None] * scale * 7,
        x0(time): torch.full((2, 3), 7.0),
    }
    for coefficients, expected in by_hand.items():
        assert torch.allclose(from_module(Time(), coefficients)(x, sigma), expected)
    total = (sigma**2 + 0.25)[:, None]
    f = (sigma.log() / 4)[:, None]
    assert torch.allclose(
        from_module(Time(), edm(0.5))(x, sigma), 0.25 / total * x + sigma[:, None] * 0.5 / total.sqrt() * f
    )


def test_modules_with_classes_are_told_their_labels() -> None:
    denoiser = from_module(Time(), x0(), conditional=True)
    label = torch.tensor([4, 9])
    assert denoiser(torch.zeros(2, 3), torch.ones(2), label)[:, 0].tolist() == [4, 9]
    with pytest.raises(ValueError, match="labels"):
        denoiser(torch.zeros(2, 3), torch.ones(2))


def test_any_function_is_a_denoiser(generator) -> None:
    x = torch.randn(3, 5, generator=generator)
    half = from_function(lambda x, sigma: x / (1 + sigma[:, None] ** 2))
    assert torch.equal(half(x, torch.ones(3)), x / 2)
    with pytest.raises(ValueError, match="condition=None"):
        half(x, torch.ones(3), torch.zeros(3))
    with pytest.raises(ValueError, match="returned"):
        from_function(lambda x, sigma: x[:1])(x, torch.ones(3))
