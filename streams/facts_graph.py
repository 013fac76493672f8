"""Facts about relations, as the decision walks them."""

from __future__ import annotations

from collections.abc import Iterator

from streams.facts_relations import Edge, tokens
from streams.facts_store import FactsStore
from streams.subjects import relation_key

_PERSON = "user:"
_RELATIONS = ("member_of", "operates", "contains", "delegates_to", "may_delegate_to", "may_approve")


def _named(relation: str | None) -> tuple[str, ...]:
    return _RELATIONS if relation is None else (relation,)


class GraphFacts(FactsStore):
    """Look-ups of a `FactsTable`."""

    def relations_from(self, entity: str, relation: str | None = None) -> tuple[Edge, ...]:
        """What starts at an entity, `user:x` say; expired ones included."""
        return tuple(edge for name in _named(relation) for edge in self._relations.at(tokens(entity, name, "")[0]))

    def relations_to(self, entity: str, relation: str | None = None) -> tuple[Edge, ...]:
        """What leads to an entity; expired ones included."""
        return tuple(edge for name in _named(relation) for edge in self._relations.at(tokens("", name, entity)[1]))

    def relations_at(self, end: str) -> tuple[Edge, ...]:
        """What starts or leads to an end as `facts_relations.tokens` names it, the memo's token too."""
        return self._relations.at(end)

    def count_at(self, end: str) -> int:
        """How many, without looking at them."""
        return self._relations.count(end)

    def relation(self, subject: str, relation: str, obj: str) -> tuple[str, Edge | None]:
        """The key of one relation, and the relation if it is there, expired or not."""
        key = relation_key(subject, relation, obj)
        return key, self._relations.get(key)

    def people_related(self) -> Iterator[tuple[str, str]]:
        """Every relation that starts at a person: its key, and the person's name."""
        for key, subject in self._relations.subjects():
            if subject.startswith(_PERSON):
                yield key, subject[len(_PERSON) :]

    def relation_count(self) -> int:
        """How many relations there are."""
        return len(self._relations)
