"""What a holder of a lease writes: a folder of its number, and what was finished last, for readers.

Who takes over begins with a copy of what its predecessor had written; what that one writes later
lies where nobody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from flowkd.store.lease import LeaseRecord, Token, last_finished
from flowkd.store.store import Store

BEGUN = "begun"  # in the folder of a holder that has all of its predecessor's
FIRST = "00000001"


def held_folder(token: Token) -> str:
    """Returns the folder of what a holder writes."""
    return f"{token.place}/{token.name}"


def current_folder(store: Store, place: str) -> str:
    """Returns the folder of what counts of a place: of its last holder that has begun."""
    for name in reversed(store.list(place)):
        if name.isdecimal() and store.exists(place, name, BEGUN):
            return f"{place}/{name}"
    return f"{place}/{FIRST}"


def take_over(token: Token, leave_out: Collection[str] = ()) -> None:
    """Copies what counts into the holder's folder, and removes the older folders.

    Args:
        token: Of the holder.
        leave_out: Names in the folder that are not copied; default none.

    Raises:
        StoreError: Another has taken over meanwhile, and removed it.
    """
    store, mine = token.store, held_folder(token)
    theirs = current_folder(store, token.place)
    for name in store.list(theirs) if theirs != mine else ():
        if name not in (BEGUN, *leave_out):
            store.copy(f"{theirs}/{name}", f"{mine}/{name}")
    store.write(b"", mine, BEGUN)
    for name in store.list(token.place):
        if name.isdecimal() and name < token.name:
            store.remove(token.place, name)


def show_last(store: Store, place: str, show: Callable[[LeaseRecord], None]) -> None:
    """Shows what was finished last, again where more was finished meanwhile.

    Whoever stood still while it showed an older result repairs that when it wakes.
    """
    last = last_finished(store, place)
    while last is not None:
        show(last)
        shown, last = last, last_finished(store, place)
        if last == shown:
            return
