"""Keys and values of many conversations side by side, as the attention layers of transformers read and write them.

A conversation's slot is a row of one tensor a layer. The rows of a forward pass are always neighbours, so that the
layers get views and nothing is gathered; slots change places when turns begin and end.
"""

from dataclasses import dataclass, field

import torch

FIRST_CAPACITY = 512
"""Tokens a slot holds to begin with; it doubles when a conversation outgrows it."""
MOST_GROWTH = 4096
"""Tokens that it grows by at most beyond what is needed: every slot grows with the one that needs it."""


@dataclass(eq=False)
class Slot:
    """A row of the cache."""

    place: int
    owner: object | None = None
    content: list[int] = field(default_factory=list)
    """What its keys and values were computed from: token ids, and numbers that stand for pictures."""
    used: int = 0
    """When it was last given to a request."""


class Cache:
    """The slots; `update` is what an attention layer calls. Every tensor is (slots, heads, capacity + 1, size).

    The place behind the last is where padding goes.
    """

    def __init__(self, slots: int):
        self.slots = [Slot(place) for place in range(slots)]
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._capacity = FIRST_CAPACITY
        self._clock = 0
        self._first, self._width = 0, 0
        self._places = torch.zeros(0, 0)

    def clear(self) -> None:
        """Forget all content and give its memory back; owners keep their slots."""
        self._keys, self._values, self._capacity = [], [], FIRST_CAPACITY
        for slot in self.slots:
            slot.content = []

    def release(self, owner: object) -> None:
        """Free an owner's slot; what it holds can still be copied."""
        for slot in self.slots:
            if slot.owner is owner:
                slot.owner = None

    def seat(self, owner: object, content: list[int], busy: int, taken: list[Slot]) -> Slot:
        """A slot for an owner, holding the longest beginning of `content` that is known anywhere.

        Its own one; else a free one; else that of whoever has waited longest. The last token of `content` is never
        among what it holds: it must be computed to go on from.

        Args:
            owner: Whose slot it is from now on.
            content: The context.
            busy: Slots at the places below this one are being written to.
            taken: Slots just given to others.
        """
        idle = [slot for slot in self.slots[busy:] if slot not in taken]
        own = next((slot for slot in idle if slot.owner is owner), None)
        slot = own or min(idle, key=lambda one: (one.owner is not None, one.used))
        self._clock += 1
        slot.owner, slot.used = owner, self._clock
        most = content[:-1]
        longest = {one: common_prefix(one.content, most) for one in self.slots if one not in taken}
        source = max(longest, key=lambda one: (longest[one], one is slot))
        if source is not slot:
            for tensor in (*self._keys, *self._values):
                tensor[slot.place, :, : longest[source]] = tensor[source.place, :, : longest[source]]
        slot.content = content[: longest[source]]
        return slot

    def bring(self, slot: Slot, place: int) -> None:
        """Move a slot to a place; the one there takes its."""
        other = self.slots[place]
        if other is slot:
            return
        for tensor in (*self._keys, *self._values):
            moved = tensor[slot.place, :, : len(slot.content)].clone()
            tensor[slot.place, :, : len(other.content)] = tensor[place, :, : len(other.content)]
            tensor[place, :, : len(slot.content)] = moved
        self.slots[slot.place], self.slots[place] = other, slot
        slot.place, other.place = place, slot.place

    def aim(self, first: int, counts: list[int], device: torch.device) -> torch.Tensor:
        """Prepare for a forward pass over new tokens of the slots from place `first` on.

        Args:
            first: Place of the first row.
            counts: New tokens of each row; rows are padded on the right to the longest.
            device: Where the model is.

        Returns:
            Which keys each new token sees, (rows, 1, longest count, width) bool.
        """
        known = [len(slot.content) for slot in self.slots[first : first + len(counts)]]
        self._first, self._width = first, max(a + b for a, b in zip(known, counts, strict=True))
        self._reserve(self._width)
        steps = torch.arange(max(counts), device=device)
        places = torch.tensor(known, device=device)[:, None] + steps
        self._places = places.masked_fill(steps >= torch.tensor(counts, device=device)[:, None], self._capacity)
        return torch.arange(self._width, device=device) <= self._places[:, None, :, None]

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the keys and values (rows, heads, new, size) of a layer; return all (rows, heads, width, size)."""
        count, heads, _, size = keys.shape
        if layer == len(self._keys):
            shape = (len(self.slots), heads, self._capacity + 1, size)
            self._keys.append(keys.new_zeros(shape))
            self._values.append(values.new_zeros(shape))
        rows = slice(self._first, self._first + count)
        each = torch.arange(rows.start, rows.stop, device=keys.device)[:, None]
        both = []
        for tensors, new in ((self._keys, keys), (self._values, values)):
            tensors[layer][each, :, self._places] = new.transpose(1, 2)
            both.append(tensors[layer][rows, :, : self._width])
        return both[0], both[1]

    def _reserve(self, tokens: int) -> None:
        """Make room for so many tokens a slot."""
        if tokens <= self._capacity:
            return
        self._capacity = max(tokens, self._capacity + min(self._capacity, MOST_GROWTH))
        for tensors in (self._keys, self._values):
            for layer, old in enumerate(tensors):
                slots, heads, _, size = old.shape
                tensors[layer] = old.new_zeros((slots, heads, self._capacity + 1, size))
                tensors[layer][:, :, : old.shape[2] - 1] = old[:, :, :-1]


def common_prefix(one: list[int], other: list[int]) -> int:
    """Length of the longest common beginning."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))
