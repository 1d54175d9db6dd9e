"""Probabilities and strengths of changes of light, weather and camera."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LightRanges:
    """Probability and full strength of each effect.

    An effect is drawn independently for each image, with an amount between `least` and
    1 that is multiplied by the strength of the call. Effects are applied in this order:
    season, light, air, occluders, lens, sensor, processing.
    """

    least: float = 0.3  # minimum amount of an effect that was drawn

    # Probabilities.
    foliage: float = 0.15
    snow: float = 0.12
    shadows: float = 0.35
    lights: float = 0.3
    lamps: float = 0.2
    fog: float = 0.15
    rain: float = 0.1
    occluders: float = 0.2
    color_transfer: float = 0.2
    tone_transfer: float = 0.2
    glare: float = 0.15
    vignette: float = 0.2
    motion: float = 0.12
    night: float = 0.3
    resolution: float = 0.15
    tone: float = 0.3
    jpeg: float = 0.3

    # Full strength.
    shadow_gain: float = 0.3  # darkest shadow, in gamma-encoded values
    temperature: float = 0.5  # log gain of red over green, and of green over blue
    ambient: float = 0.15  # light left between lamps
    fog_density: float = 0.85  # maximum opacity
    rain_opacity: float = 0.7
    occluder_radius: float = 0.3  # of the image's shorter side
    transfer: float = 0.8  # blend with the other photo's color or tone
    falloff: float = 1.0  # of the vignette: gain 1 / (1 + falloff)^2 in the corners
    motion_length: float = 13.0  # pixels
    gamma: float = 4.0  # at night
    read_noise: float = 0.01  # standard deviation before the gain
    shot_noise: float = 0.0006  # variance per unit of light, before the gain
    camera_gain: float = 8.0  # maximum amplification of a night image
    downscale: float = 4.0
    tone_bend: float = 0.8  # standard deviation of a tone curve's log slope
    clip: float = 0.2  # fraction of the range clipped at each end
    quality: float = 15.0  # minimum JPEG quality
