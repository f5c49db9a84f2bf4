"""Endpoints E6 to E12: links of a profile (sections 4.3 and 4.4)."""

from typing import Any

from profiles.simulator import rules
from profiles.simulator.answers import ApiError, Json, Reply, invalid_fields, not_found
from profiles.simulator.calls import Call, page_size
from profiles.simulator.cursors import Cursor, page_after
from profiles.simulator.world import Link, Profile, new_id

BULK_MAX = 10


def list_links(call: Call) -> Reply:
    profile = call.profile(call.params.get("id") or call.query.get("profile_id"))
    wanted = [(link.id, (place, link)) for place, link in enumerate(call.world.links_of(profile))]
    if "is_active" in call.query:
        flag = _flag_filter(call.query["is_active"])
        wanted = [entry for entry in wanted if entry[1][1].is_active is flag]
    if "type" in call.query:
        kind = _type_filter(call.query["type"])
        wanted = [entry for entry in wanted if entry[1][1].type == kind]
    page, cursor = page_after(wanted, Cursor.read(call.query.get("cursor")), page_size(call.query))
    body: Json = {"data": [link_body(link, place) for place, link in page], "has_more": cursor is not None}
    if cursor is not None:
        body["cursor"] = cursor
    if "cursor-loop" in call.faults:
        body |= {"has_more": True, "cursor": call.query.get("cursor") or Cursor(0, "lnk_loop").write()}
    return Reply(200, body)


def create_link(call: Call) -> Reply:
    ref = call.params.get("id") or call.body.get("profile_id")
    if not ref:
        raise invalid_fields({"profile_id": ["is required"]})
    profile = call.profile(ref)
    fields = _clean_fields(call.body)
    kind = fields.get("type", "classic")
    missing = [name for name in ("title", "url") if name not in fields and not (name == "url" and kind == "header")]
    if missing:
        raise invalid_fields({name: ["is required"] for name in missing})
    if len(profile.link_ids) >= rules.LINKS_MAX:
        raise invalid_fields({"profile_id": [f"has {rules.LINKS_MAX} links already"]})
    _refuse_duplicate_url(call, profile, fields.get("url"))
    position = fields.pop("position", len(profile.link_ids))
    now = call.world.now()
    link = Link(id=new_id("lnk"), profile_id=profile.id, created_at=now, updated_at=now, **{"url": None, **fields})
    call.world.links[link.id] = link
    profile.link_ids.insert(min(position, len(profile.link_ids)), link.id)
    profile.updated_at = now
    call.world.announce("link.created", profile, _event_data(profile, link, "title", "url", "position"))
    return Reply(201, _body(profile, link))


def one_link(call: Call) -> Reply:
    link = call.world.link(call.account, call.params["id"])
    return Reply(200, _body(call.world.profiles[link.profile_id], link))


def update_link(call: Call) -> Reply:
    link = _named_link(call)
    profile = call.world.profiles[link.profile_id]
    if call.body:
        _apply(call, profile, link, _clean_fields(call.body))
        _announce_update(call, profile, link)
    return Reply(200, _body(profile, link))


def delete_link(call: Call) -> Reply:
    link = _named_link(call)
    profile = call.world.profiles[link.profile_id]
    profile.link_ids.remove(link.id)
    del call.world.links[link.id]
    profile.updated_at = call.world.now()
    call.world.announce("link.deleted", profile, {"link_id": link.id, "deleted_at": profile.updated_at})
    return Reply(204)


def reorder_links(call: Call) -> Reply:
    ids = call.body.get("link_ids")
    if not isinstance(ids, list) or not ids or not all(isinstance(link_id, str) for link_id in ids):
        raise invalid_fields({"link_ids": ["must be a list of link ids"]})
    profile = call.profile(call.body.get("profile_id") or _owner_of(call, ids[0]))
    if sorted(ids) != sorted(profile.link_ids):
        raise invalid_fields({"link_ids": ["must name each link of the profile exactly once"]})
    moved = [link_id for place, link_id in enumerate(ids) if profile.link_ids[place] != link_id]
    profile.link_ids = list(ids)
    for link_id in moved:
        link = call.world.links[link_id]
        link.updated_at = profile.updated_at = call.world.now()
        _announce_update(call, profile, link)
    order = [{"id": link.id, "title": link.title, "position": place} for place, link in _placed(call, profile)]
    return Reply(200, {"links": order, "data": order})


def bulk_update(call: Call) -> Reply:
    """Apply each item on its own; positions are set last, in ascending order: a full reorder comes out as sent."""
    profile = call.profile(call.params["id"])
    items = _bulk_items(call.body.get("links"))
    done: list[Link] = []
    moves: list[tuple[int, Link]] = []
    errors: list[Json] = []
    for index, item in enumerate(items):
        try:
            if "bulk-partial" in call.faults and index % 2 == 1:
                _refuse_item()
            link, position = _apply_item(call, profile, item)
        except ApiError as error:
            errors.append({"index": index, "id": item.get("id"), "code": error.code, "message": error.message})
            continue
        done.append(link)
        if position is not None:
            moves.append((position, link))
    for position, link in sorted(moves, key=lambda move: move[0]):
        _move(profile, link, position)
    for link in done:
        _announce_update(call, profile, link)
    data = [_body(profile, link) for link in done]
    if not errors:
        return Reply(200, {"data": data})
    if done:
        return Reply(207, {"data": data, "errors": errors})
    raise ApiError(422, "VALIDATION_ERROR", "No item could be applied", beside={"data": [], "errors": errors})


def _refuse_item() -> None:
    raise ApiError(500, "INTERNAL_ERROR", "This item failed")


def _apply_item(call: Call, profile: Profile, item: Json) -> tuple[Link, int | None]:
    """Apply one item of a bulk body but for its position, which is returned."""
    link = call.world.link(call.account, str(item.get("id")))
    if link.profile_id != profile.id:
        raise not_found("LINK")
    fields = _clean_fields({name: value for name, value in item.items() if name != "id"})
    position = fields.pop("position", None)
    _apply(call, profile, link, fields)
    return link, position


def link_body(link: Link, place: int) -> Json:
    return {
        "id": link.id,
        "profile_id": link.profile_id,
        "title": link.title,
        "url": link.url,
        "position": place,
        "is_active": link.is_active,
        "click_count": link.click_count,
        "thumbnail_url": link.thumbnail_url,
        "type": link.type,
        "metadata": link.metadata,
        "created_at": link.created_at,
        "updated_at": link.updated_at,
    }


def _body(profile: Profile, link: Link) -> Json:
    return link_body(link, profile.link_ids.index(link.id))


def _placed(call: Call, profile: Profile) -> list[tuple[int, Link]]:
    return list(enumerate(call.world.links_of(profile)))


def _named_link(call: Call) -> Link:
    link = call.world.link(call.account, call.params["id"])
    if "pid" in call.params and call.profile(call.params["pid"]).id != link.profile_id:
        raise not_found("LINK")
    return link


def _owner_of(call: Call, link_id: str) -> str | None:
    """Return the profile of an own link, or None: a foreign id then fails as not part of the permutation."""
    try:
        return call.world.link(call.account, link_id).profile_id
    except ApiError:
        return None


def _clean_fields(body: Json) -> Json:
    """Return the known fields of a link, checked; aliases are read as section 10.2 says."""
    fields: Json = {}
    if "url" in body and not (body["url"] is None and body.get("type") == "header"):
        fields["url"] = rules.clean_url(body["url"])
    if "title" in body:
        fields["title"] = rules.clean_title(body["title"])
    if "position" in body:
        fields["position"] = rules.clean_position(body["position"])
    if "is_active" in body:
        fields["is_active"] = rules.clean_flag("is_active", body["is_active"])
    elif "archived" in body:
        fields["is_active"] = not rules.clean_flag("archived", body["archived"])
    for name in ("thumbnail_url", "thumbnail"):
        if name in body:
            fields["thumbnail_url"] = rules.clean_image(name, body[name])
    if "type" in body:
        fields["type"] = rules.clean_link_type(body["type"])
    if "metadata" in body:
        fields["metadata"] = rules.clean_object("metadata", body["metadata"])
    return fields


def _apply(call: Call, profile: Profile, link: Link, fields: Json) -> None:
    _refuse_duplicate_url(call, profile, fields.get("url"), but=link)
    position = fields.pop("position", None)
    for name, value in fields.items():
        setattr(link, name, value)
    if position is not None:
        _move(profile, link, position)
    link.updated_at = profile.updated_at = call.world.now()


def _move(profile: Profile, link: Link, position: int) -> None:
    """Insert and shift; a place behind the end is the end."""
    profile.link_ids.remove(link.id)
    profile.link_ids.insert(min(position, len(profile.link_ids)), link.id)


def _refuse_duplicate_url(call: Call, profile: Profile, url: str | None, but: Link | None = None) -> None:
    if url is None:
        return
    key = rules.same_url_key(url)
    for other in call.world.links_of(profile):
        if other is not but and other.url is not None and rules.same_url_key(other.url) == key:
            details = {"existing_link_id": other.id}
            raise ApiError(409, "DUPLICATE_LINK", "The profile has a link with this URL", details=details)


def _bulk_items(items: Any) -> list[Json]:
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise invalid_fields({"links": ["must be a list of objects"]})
    if len(items) > BULK_MAX:
        raise invalid_fields({"links": [f"must have at most {BULK_MAX} items"]})
    positions = [item["position"] for item in items if isinstance(item.get("position"), int)]
    if len(set(positions)) < len(positions):
        raise invalid_fields({"position": ["must not appear twice"]})
    return items


def _announce_update(call: Call, profile: Profile, link: Link) -> None:
    shown = ("title", "url", "position", "thumbnail_url")
    call.world.announce("link.updated", profile, _event_data(profile, link, *shown))


def _event_data(profile: Profile, link: Link, *names: str) -> Json:
    body = _body(profile, link)
    return {"link_id": link.id, **{name: body[name] for name in names}}


def _flag_filter(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ApiError(400, "INVALID_FILTER", "is_active must be true or false")
    return text == "true"


def _type_filter(text: str) -> str:
    if text not in rules.LINK_TYPES:
        raise ApiError(400, "INVALID_FILTER", "unknown link type")
    return text
