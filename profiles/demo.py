"""The demo profile of `make run`: the simulator's `myusername`, mirrored here."""

from profiles import mirroring, selectors

USERNAME = "myusername"


def create_demo_profile() -> str:
    """Mirror the demo profile if it is not here yet; harmless to repeat. Returns one line for the terminal."""
    if selectors.find_profile_id(USERNAME) is None and mirroring.mirror_profile(USERNAME) is None:
        return f"no profile: the source has no {USERNAME}"
    return f"profile @{USERNAME}, mirrored from Linktree"
