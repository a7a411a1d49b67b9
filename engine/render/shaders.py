"""The effects as shaders at the size of the screen, after a cubic upscale."""

from collections.abc import Sequence
from math import log2
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from engine.core.jobs import Caption
from engine.render.caption import placed
from engine.render.effects import BLOOM_ROWS, bloom_kernel, colour_matrix, held_zoom, turn

_VERTEX = """
#version 330 core
out vec2 uv;  // (0, 0) is the first pixel of the first row: the top left of the picture
void main() {  // one triangle that covers the screen
    uv = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0;
    gl_Position = vec4(uv * 2.0 - 1.0, 0.0, 1.0);
}
"""

_HEAD = """
#version 330 core
in vec2 uv;
out vec4 colour;
vec2 mirrored(vec2 p) { return 1.0 - abs(mod(p, 2.0) - 1.0); }
"""

# Cubic convolution (Keys 1981) over 4 x 4 pixels, a = -0.75 as in OpenCV, mixed with the fed-back picture.
_FEEDBACK = (
    _HEAD
    + """
uniform sampler2D source, trail;
uniform vec2 size;  // of this stage in pixels
uniform mat2 turn;
uniform float share, decay;
vec4 weights(float t) {
    const float a = -0.75;
    vec4 d = vec4(1.0 + t, t, 1.0 - t, 2.0 - t);
    vec4 near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
    vec4 far = ((d - 5.0) * d + 8.0) * d * a - 4.0 * a;
    return vec4(far.x, near.y, near.z, far.w);
}
void main() {
    ivec2 bound = textureSize(source, 0);
    vec2 place = uv * vec2(bound) - 0.5;
    ivec2 corner = ivec2(floor(place));
    vec4 wx = weights(fract(place.x)), wy = weights(fract(place.y));
    vec3 sum = vec3(0.0);
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++)
        {
            ivec2 pixel = clamp(corner + ivec2(i, j) - 1, ivec2(0), bound - 1);
            sum += wx[i] * wy[j] * texelFetch(source, pixel, 0).rgb;
        }
    sum = clamp(sum, 0.0, 1.0);
    if (share > 0.0) {
        vec2 from = turn * ((uv - 0.5) * size) / size + 0.5;
        sum = mix(sum, decay * texture(trail, mirrored(from)).rgb, share);
    }
    colour = vec4(sum, 1.0);
}
"""
)

_COLOUR = (
    _HEAD
    + """
uniform sampler2D picture;
uniform vec2 size;
uniform float segments;  // below 2: none
uniform mat3 matrix;
uniform vec3 offset;
void main() {
    vec2 from = uv;
    if (segments >= 2.0) {
        vec2 p = (uv - 0.5) * size;
        float wedge = 6.28318530718 / segments;
        float angle = mod(atan(p.y, p.x), wedge);
        angle = min(angle, wedge - angle);
        from = mirrored(length(p) * vec2(cos(angle), sin(angle)) / size + 0.5);
    }
    colour = vec4(clamp(matrix * texture(picture, from).rgb + offset, 0.0, 1.0), 1.0);
}
"""
)

_BRIGHT = (
    _HEAD
    + """
uniform sampler2D picture;
uniform float level, threshold, strength;  // level: of the mipmap that averages down to this size
void main() {
    colour = vec4(max(textureLod(picture, uv, level).rgb - threshold, 0.0) * strength, 1.0);
}
"""
)

_BLUR = (
    _HEAD
    + """
uniform sampler2D picture;
uniform vec2 pixel;  // one step along the line, in uv
uniform float sigma;
uniform int radius;
void main() {
    vec3 sum = vec3(0.0);
    float weight = 0.0;
    for (int i = -radius; i <= radius; i++) {
        float w = exp(-0.5 * float(i * i) / (sigma * sigma));
        sum += w * texture(picture, uv + float(i) * pixel).rgb;
        weight += w;
    }
    colour = vec4(sum / weight, 1.0);
}
"""
)

_COMPOSE = (
    _HEAD
    + """
uniform sampler2D picture, glow, stored;
uniform float bloom, crossfade;
void main() {
    vec3 c = texture(picture, uv).rgb;
    if (bloom > 0.0) c = min(c + texture(glow, uv).rgb, 1.0);
    if (crossfade > 0.0) c = mix(c, texture(stored, uv).rgb, crossfade);
    colour = vec4(c, 1.0);
}
"""
)

_SHOW = (
    _HEAD
    + """
uniform sampler2D picture;
uniform vec2 scale;  // of uv about the centre; negative y turns a window's rows upside down
uniform float strobe, blackout;
void main() {
    vec2 from = mirrored((uv - 0.5) * scale + 0.5);
    colour = vec4(mix(texture(picture, from).rgb, vec3(1.0), strobe) * (1.0 - blackout), 1.0);
}
"""
)

_OVERLAY = (
    _HEAD
    + """
uniform sampler2D picture;
uniform float opacity;
uniform bool upright;
void main() {
    colour = texture(picture, vec2(uv.x, upright ? 1.0 - uv.y : uv.y)) * vec4(1.0, 1.0, 1.0, opacity);
}
"""
)


class Stage:
    """The effects with what they remember, on textures of `width` x `height` pixels in a GL 3.3 context."""

    def __init__(self, context: Any, width: int, height: int) -> None:
        self._context = context
        self._passes = {
            name: self._compile(fragment)
            for name, fragment in (
                ("feedback", _FEEDBACK), ("colour", _COLOUR), ("bright", _BRIGHT), ("blur", _BLUR),
                ("compose", _COMPOSE), ("show", _SHOW), ("overlay", _OVERLAY),
            )
        }  # fmt: skip
        self._source: Any = None
        self._textures: list[Any] = []
        self._letters: tuple[NDArray[np.uint8], Any] | None = None  # of the line, and their texture
        self._fading = False
        self._levels: tuple[float, float] = (0.0, 0.0)  # strobe and blackout of the picture
        self.resize(width, height)

    def _compile(self, fragment: str) -> Any:
        program = self._context.program(vertex_shader=_VERTEX, fragment_shader=fragment)
        return self._context.vertex_array(program, [])

    def resize(self, width: int, height: int) -> None:
        """Make the textures for a picture of `width` x `height` pixels; what was remembered is gone."""
        for thing in self._textures:
            thing.release()
        self._textures = []
        self.size = (width, height)
        rows = min(BLOOM_ROWS, height)
        self._rows = rows
        glow = (max(1, round(width * rows / height)), rows)
        self._trail, self._before, self._look, self._composed, self._stored = (
            self._target(self.size) for _ in range(5)
        )
        self._glow, self._smear = (self._target(glow) for _ in range(2))

    def _target(self, size: tuple[int, int]) -> Any:
        """Return a framebuffer on a texture of half floats: eight bits would leave ghosts that never fade."""
        texture = self._context.texture(size, 4, dtype="f2")
        texture.repeat_x = texture.repeat_y = False
        framebuffer = self._context.framebuffer([texture])
        framebuffer.clear()
        self._textures += [framebuffer, texture]
        return framebuffer

    def _draw(self, name: str, target: Any, pictures: dict[str, Any], **uniforms: Any) -> None:
        """Run one pass into `target`; `pictures` are framebuffers or textures by sampler."""
        array = self._passes[name]
        for unit, (sampler, picture) in enumerate(pictures.items()):
            texture: Any = picture
            if isinstance(picture, moderngl.Framebuffer):
                texture = picture.color_attachments[0]
            texture.use(unit)
            array.program[sampler] = unit
        for uniform, value in uniforms.items():
            array.program[uniform] = value
        target.use()
        array.render(moderngl.TRIANGLES, vertices=3)

    def apply(self, pixels: NDArray[np.uint8], levels: Sequence[float]) -> None:
        """Take the next picture, uint8 (h, w, 3), with the effects at `levels`, in the order of EFFECTS."""
        (
            feedback, zoom, rotate, decay, kaleidoscope, hue, saturation, contrast,
            bloom, threshold, crossfade, strobe, blackout,
        ) = levels  # fmt: skip
        self._upload(pixels)
        self._before, self._trail = self._trail, self._before
        self._draw(
            "feedback", self._trail, {"source": self._source, "trail": self._before},
            size=self.size, turn=_columns(turn(zoom, rotate)), share=feedback, decay=decay,
        )  # fmt: skip
        look = self._trail
        if kaleidoscope >= 2.0 or bloom > 0.0 or (hue, saturation, contrast) != (0.0, 1.0, 1.0):
            look = self._look
            matrix = colour_matrix(hue, saturation, contrast)
            self._draw(
                "colour", look, {"picture": self._trail}, size=self.size, segments=float(int(kaleidoscope)),
                matrix=_columns(matrix[:, :3]), offset=tuple(matrix[:, 3].tolist()),
            )  # fmt: skip
        if bloom > 0.0:
            self._shine(bloom, threshold)
        if not self._fading:
            self._composed, self._stored = self._stored, self._composed
        self._fading = crossfade > 0.0
        self._draw(
            "compose", self._composed, {"picture": look, "glow": self._glow, "stored": self._stored},
            bloom=bloom, crossfade=crossfade,
        )  # fmt: skip
        self._levels = (strobe, blackout)

    def _upload(self, pixels: NDArray[np.uint8]) -> None:
        size = (pixels.shape[1], pixels.shape[0])
        if self._source is None or self._source.size != size:
            if self._source is not None:
                self._source.release()
            self._source = self._context.texture(size, 3, alignment=1)
        self._source.write(np.ascontiguousarray(pixels))

    def _shine(self, strength: float, threshold: float) -> None:
        self._look.color_attachments[0].build_mipmaps()
        level = log2(self.size[1] / self._rows)
        self._draw(
            "bright", self._glow, {"picture": self._look}, level=level, threshold=threshold, strength=strength
        )
        sigma, radius = bloom_kernel(self._rows)
        width, height = self._glow.size
        bell = {"sigma": sigma, "radius": radius}
        self._draw("blur", self._smear, {"picture": self._glow}, pixel=(1.0 / width, 0.0), **bell)
        self._draw("blur", self._glow, {"picture": self._smear}, pixel=(0.0, 1.0 / height), **bell)

    def show(self, target: Any, size: tuple[int, int], held: int = 0, upright: bool = True) -> None:
        """Draw the picture into a framebuffer of `size`, covering it, moved on if it is held.

        `upright` is the order of rows in a window, from the bottom up.
        """
        width, height = size
        cover = max(width / self.size[0], height / self.size[1]) * held_zoom(held)
        scale = (width / self.size[0] / cover, height / self.size[1] / cover * (-1.0 if upright else 1.0))
        strobe, blackout = self._levels
        self._draw("show", target, {"picture": self._composed}, scale=scale, strobe=strobe, blackout=blackout)

    def overlay(self, target: Any, size: tuple[int, int], texture: Any, top: int = 0) -> None:
        """Draw a texture on the left of a window of `size`, `top` pixels down, one pixel to one."""
        self._lay(target, size, texture, 0, top, 1.0, upright=True)

    def write(self, target: Any, size: tuple[int, int], caption: Caption, upright: bool = True) -> None:
        """Write a line over the picture in a framebuffer of `size`, as `engine.render.caption.write` does."""
        picture, left, top = placed(caption, *size)
        if self._letters is None or self._letters[0] is not picture:
            if self._letters is not None:
                self._letters[1].release()
            texture = self._context.texture(picture.shape[1::-1], 4, picture.tobytes())
            texture.filter = moderngl.NEAREST, moderngl.NEAREST
            self._letters = (picture, texture)
        self._lay(target, size, self._letters[1], left, top, caption.opacity, upright)

    def _lay(
        self,
        target: Any,
        size: tuple[int, int],
        texture: Any,
        left: int,
        top: int,
        opacity: float,
        upright: bool,
    ) -> None:
        """Blend an RGBA texture over a framebuffer, one pixel to one, its top left corner at a place."""
        bottom = size[1] - top - texture.height if upright else top
        target.viewport = (left, bottom, texture.width, texture.height)
        self._context.enable(moderngl.BLEND)
        self._draw("overlay", target, {"picture": texture}, opacity=opacity, upright=upright)
        self._context.disable(moderngl.BLEND)
        target.viewport = (0, 0, *size)


def _columns(matrix: NDArray[np.float32]) -> tuple[float, ...]:
    """Return a matrix in the order that GL wants: column by column."""
    return tuple(matrix.T.ravel().tolist())
