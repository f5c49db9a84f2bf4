"""Endpoints E1 to E5, E21 and E22: health, profiles and fixed lists."""

from profiles.simulator import rules
from profiles.simulator.answers import ApiError, Json, Reply
from profiles.simulator.calls import Call, page_size
from profiles.simulator.cursors import Cursor, page_after
from profiles.simulator.link_endpoints import link_body
from profiles.simulator.world import Profile

THEME_IDS = ("air", "dusk", "lake", "mineral", "basic")


def health(call: Call) -> Reply:
    return Reply(200, {"status": "ok"})


def default_profile(call: Call) -> Reply:
    return Reply(200, profile_body(call, call.profile()))


def one_profile(call: Call) -> Reply:
    return Reply(200, profile_body(call, call.profile(call.params["ref"])))


def list_profiles(call: Call) -> Reply:
    visible = [
        profile
        for profile in call.world.profiles.values()
        if profile.account == call.account and not profile.is_deactivated
    ]
    items = [(profile.id, profile) for profile in visible]
    page, cursor = page_after(items, Cursor.read(call.query.get("cursor")), page_size(call.query))
    body: Json = {"data": [_profile_fields(profile) for profile in page], "has_more": cursor is not None}
    if cursor is not None:
        body["cursor"] = cursor
    return Reply(200, body)


def update_profile(call: Call) -> Reply:
    """Change bio, display name, avatar or theme; an unknown theme id leaves the theme and still answers 200."""
    profile = call.profile(call.params["id"])
    changes: Json = {}
    for name, limit in (("display_name", rules.DISPLAY_NAME_MAX), ("bio", rules.BIO_MAX)):
        if name in call.body:
            changes[name] = rules.clean_text(name, call.body[name], limit)
    if "avatar_url" in call.body:
        changes["avatar_url"] = rules.clean_image("avatar_url", call.body["avatar_url"])
    theme = call.body.get("theme")
    if theme is not None:
        theme = rules.clean_object("theme", theme)
        if "theme-noop" not in call.faults and theme.get("id", THEME_IDS[0]) in THEME_IDS:
            changes["theme"] = {**(profile.theme or {}), **theme}
    for name, value in changes.items():
        setattr(profile, name, value)
    if changes:
        profile.updated_at = call.world.now()
        shown = ("bio", "avatar_url", "theme")
        call.world.announce("profile.updated", profile, {name: getattr(profile, name) for name in shown})
    return Reply(200, profile_body(call, profile))


def link_types(call: Call) -> Reply:
    return Reply(200, {"data": list(rules.LINK_TYPES)})


def upload_formats(call: Call) -> Reply:
    return Reply(200, {"data": list(rules.IMAGE_TYPES)})


def profile_body(call: Call, profile: Profile) -> Json:
    links = call.world.links_of(profile)
    return {**_profile_fields(profile), "links": [link_body(link, place) for place, link in enumerate(links)]}


def refuse_free_plan(call: Call) -> None:
    """Raise the 403 that a free plan gets on appearance and analytics."""
    if call.token.plan == "free":
        raise ApiError(403, "PLAN_RESTRICTED", "Your plan does not include this")


def _profile_fields(profile: Profile) -> Json:
    return {
        "id": profile.id,
        "username": profile.username,
        "display_name": profile.display_name,
        "bio": profile.bio,
        "avatar_url": profile.avatar_url,
        "tier": profile.tier,
        "theme": profile.theme,
        "created_at": profile.created_at,
        "updated_at": profile.updated_at,
    }
