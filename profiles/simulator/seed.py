"""The data a fresh simulator starts with: the contract's `janedoe` (section 12) and the demo's `myusername`."""

from profiles.simulator.answers import Json
from profiles.simulator.world import Link, Profile, Token, World

ALL_SCOPES = ["profile:read", "profile:write", "links:read", "links:write", "analytics:read", "webhooks:manage"]
BRIEF_SCOPES = ["profile:read", "links:write"]

DEMO_TOKEN = "lt_test_demo"  # noqa: S105 - a name in a simulator, no secret
_DEMO_LINKS: list[Json] = [
    {"id": "lnk_demo00000001", "title": "My portfolio", "url": "https://www.myusername.dev/", "click_count": 1890},
    {"id": "lnk_demo00000002", "title": "Latest talk: caching", "url": "https://talks.myusername.dev/cache?from=bio"},
    {"id": "lnk_demo00000003", "title": "Find me elsewhere", "url": None, "type": "header"},
    {"id": "lnk_demo00000004", "title": "Newsletter ✉️", "url": "https://letters.myusername.dev/", "click_count": 412},
    {"id": "lnk_demo00000005", "title": "Source code", "url": "https://code.myusername.dev/all", "click_count": 77},
    {"id": "lnk_demo00000006", "title": "Old shop (closed)", "url": "https://shop.myusername.dev/", "is_active": False},
]  # fmt: skip
_JANE_LINKS: list[Json] = [
    {"id": "lnk_1", "title": "Portfolio", "url": "https://example.com/", "click_count": 100},
    {"id": "lnk_2", "title": "Shop", "url": "https://example.com/shop", "click_count": 25},
    {"id": "lnk_3", "title": "Newsletter", "url": "https://example.com/newsletter", "is_active": False},
]


def seed(world: World) -> None:
    """Fill an empty world."""
    now = world.now()
    _add_profile(
        world,
        Profile(
            id="prof_1", account="acct_1", username="janedoe", display_name="Jane Doe",
            bio="Maker of small things", avatar_url="https://images.example.com/jane.png", tier="pro",
            theme={"id": "air", "mode": "light", "background_color": "#F7F4EF"}, created_at=now, updated_at=now,
        ),
        _JANE_LINKS,
    )  # fmt: skip
    _add_profile(
        world,
        Profile(
            id="prof_demo00000001", account="acct_1", username="myusername", display_name="My Username",
            bio="Links, talks and letters. Mirrored from the Linktree simulator.",
            avatar_url=None, tier="pro",
            theme={
                "id": "dusk", "mode": "dark", "background_color": "#1B2140", "background_style": "GRADIENTSTILL",
                "background_gradient_style": "PINK", "button_style": "GLASS", "button_corner_style": "ROUND",
                "button_shadow_style": "SOFT", "heading_size": "large",
            },
            created_at=now, updated_at=now,
        ),
        _DEMO_LINKS,
    )  # fmt: skip
    _add_profile(
        world,
        Profile(
            id="prof_2", account="acct_2", username="someone.else", display_name="Someone Else", bio=None,
            avatar_url=None, tier="free", theme=None, created_at=now, updated_at=now,
        ),
        [{"id": "lnk_foreign", "title": "Theirs", "url": "https://example.net/"}],
    )  # fmt: skip
    for token in (
        Token("lt_test_full", "acct_1", "pro", ALL_SCOPES, "prof_1"),
        Token("lt_test_next", "acct_1", "pro", ALL_SCOPES, "prof_1"),
        Token("lt_test_brief", "acct_1", "pro", BRIEF_SCOPES, "prof_1"),
        Token("lt_test_readonly", "acct_1", "pro", ["profile:read"], "prof_1"),
        Token("lt_test_free", "acct_2", "free", ALL_SCOPES, "prof_2"),
        Token(DEMO_TOKEN, "acct_1", "pro", BRIEF_SCOPES, "prof_demo00000001"),
    ):
        world.tokens[token.value] = token


def _add_profile(world: World, profile: Profile, links: list[Json]) -> None:
    world.profiles[profile.id] = profile
    for fields in links:
        link = Link(profile_id=profile.id, created_at=profile.created_at, updated_at=profile.updated_at, **fields)
        world.links[link.id] = link
        profile.link_ids.append(link.id)
