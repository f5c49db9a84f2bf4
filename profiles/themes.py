"""ThemeConfig: data from elsewhere, made into the brief's camelCase and into a handful of checked style choices.

A theme never becomes CSS text: colours are matched as #RRGGBB, everything else picks from fixed lists (contract 10.3).
"""

import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

CAMEL_NAMES = {
    "hero_mode": "heroMode",
    "background_color": "backgroundColor",
    "background_style": "backgroundStyle",
    "background_gradient_style": "backgroundGradientStyle",
    "button_style": "buttonStyle",
    "button_corner_style": "buttonCornerStyle",
    "button_shadow_style": "buttonShadowStyle",
    "font_style": "fontStyle",
    "heading_font": "headingFont",
    "heading_size": "headingSize",
}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)
_CHOICES: dict[str, tuple[str, ...]] = {
    "mode": ("light", "dark"),
    "button_style": ("FILL", "OUTLINE", "GLASS"),
    "button_corner_style": ("CURVED", "SHARP", "ROUND"),
    "button_shadow_style": ("NONE", "SOFT", "HARD"),
    "background_gradient_style": ("GREEN", "NOIR", "ORANGE", "PINK", "RAINBOW"),
    "heading_size": ("normal", "large"),
}
_DEFAULT_GROUND = {"light": "#F6F7FB", "dark": "#101218"}


@dataclass(frozen=True, slots=True)
class PageStyle:
    """What the profile page may show of a theme. classes: of the page's own stylesheet. ground: "#RRGGBB"."""

    classes: str
    ground: str
    is_dark: bool

    @property
    def css(self) -> str:
        """The only style that differs by profile: one checked colour."""
        return f":root{{--ground:{self.ground}}}"


def theme_json(theme: Json) -> Json:
    """Return the theme with its known fields in camelCase; unknown fields stay as they are."""
    return {CAMEL_NAMES.get(name, name): value for name, value in theme.items()}


def page_style(theme: Json) -> PageStyle:
    """Return the style of a page; whatever the theme holds that is not on our lists is ignored."""
    chosen = {name: _choice(theme, name) for name in _CHOICES}
    ground = _colour(theme)
    is_dark = _is_dark(ground) if ground else chosen["mode"] == "dark"
    classes = [
        "dark" if is_dark else "light",
        f"button-{chosen['button_style']}",
        f"corner-{chosen['button_corner_style']}",
        f"shadow-{chosen['button_shadow_style']}",
        f"heading-{chosen['heading_size']}",
    ]
    if str(theme.get("background_style", "")).startswith("GRADIENT"):
        classes.append(f"gradient-{chosen['background_gradient_style']}")
    if theme.get("hero_mode") is True:
        classes.append("hero")
    return PageStyle(" ".join(classes).lower(), ground or _DEFAULT_GROUND["dark" if is_dark else "light"], is_dark)


def _choice(theme: Json, name: str) -> str:
    value = theme.get(name)
    return value if isinstance(value, str) and value in _CHOICES[name] else _CHOICES[name][0]


def _colour(theme: Json) -> str | None:
    value = theme.get("background_color")
    return value if isinstance(value, str) and _COLOUR.fullmatch(value) else None


def _is_dark(colour: str) -> bool:
    """Whether white text reads better on it (relative luminance below 0.18, WCAG 2.2)."""
    red, green, blue = (_linear(int(colour[place : place + 2], 16) / 255) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
