"""What a project keeps beside its corrections: ids of categories, and facts about the images that its tasks name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy import Connection, select

from maskwright.errors import InvalidInput, NotFound
from maskwright.store.database import Database
from maskwright.store.documents import checked_text
from maskwright.store.records import ImageFacts
from maskwright.store.schema import categories, images, projects

_PAGE = 1000


def source_digest(source: str) -> str:
    """SHA-256 (hex) of an image address: what its row is found by."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


class Registers:
    """The part of ``CorrectionsStore`` that keeps registers.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def category_ids(self, project_id: int, names: Iterable[str] = ()) -> dict[str, int]:
        """Ids of class names: kept for ever, never given to another name; new names get the next ones from 1.

        Args:
            project_id: From ``CorrectionsStore.project``.
            names: Classes to look up, and to register where new, in this order.

        Returns:
            Name -> id of these names in their order; of all registered names by id if none is given.

        Raises:
            NotFound: If there is no such project.
            InvalidInput: If a name is too long to keep.
        """
        wanted = [checked_text(name, "class name", 512) for name in dict.fromkeys(names)]

        def work(connection: Connection) -> dict[str, int]:
            # The project's row is the lock: ids are given by one writer at a time.
            lock = select(projects.c.id).where(projects.c.id == project_id).with_for_update()
            if connection.execute(lock).first() is None:
                raise NotFound(f"the store has no project whose own number is {project_id}")
            known = _registered(connection, project_id)
            rows = []
            for name in wanted:
                if name not in known:
                    known[name] = max(known.values(), default=0) + 1
                    rows.append({"project_id": project_id, "category_id": known[name], "name": name})
            if rows:
                connection.execute(categories.insert(), rows)
            return known

        if wanted:
            known = self.database.write(work)
            return {name: known[name] for name in wanted}
        with self.database.read() as connection:
            return _registered(connection, project_id)

    def put_image(self, project_id: int, source: str, facts: ImageFacts) -> None:
        """Keep what is known of the file behind an image address of the project's tasks; later facts replace it.

        Raises:
            InvalidInput: If the checksum is not 64 hex digits or the size not positive.
        """
        self.put_images(project_id, {source: facts})

    def put_images(self, project_id: int, facts: Mapping[str, ImageFacts]) -> None:
        """``put_image`` for many addresses, in one transaction."""
        rows = [_image_row(project_id, source, one) for source, one in sorted(facts.items())]

        def work(connection: Connection) -> None:
            for row in rows:
                statement = self.database.insert(images).values(**row)
                kept = {name: statement.excluded[name] for name in ("sha256", "width", "height", "perceptual_hash")}
                connection.execute(
                    statement.on_conflict_do_update(index_elements=["project_id", "source_digest"], set_=kept)
                )

        if rows:
            self.database.write(work)

    def image(self, project_id: int, source: str) -> ImageFacts | None:
        """What is known of the file behind an address, or None."""
        query = select(images).where(images.c.project_id == project_id, images.c.source_digest == source_digest(source))
        with self.database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else ImageFacts(row.sha256, row.width, row.height, row.perceptual_hash)

    def images(self, project_id: int) -> Iterator[tuple[str, ImageFacts]]:
        """Every known address of a project with its facts, a page at a time."""
        after = ""
        while True:
            query = select(images).where(images.c.project_id == project_id, images.c.source_digest > after)
            with self.database.read() as connection:
                rows = connection.execute(query.order_by(images.c.source_digest).limit(_PAGE)).all()
            for row in rows:
                yield row.source, ImageFacts(row.sha256, row.width, row.height, row.perceptual_hash)
            if len(rows) < _PAGE:
                return
            after = rows[-1].source_digest


def _registered(connection: Connection, project_id: int) -> dict[str, int]:
    query = select(categories.c.name, categories.c.category_id).where(categories.c.project_id == project_id)
    return {name: int(number) for name, number in connection.execute(query.order_by(categories.c.category_id))}


def _image_row(project_id: int, source: str, facts: ImageFacts) -> dict[str, object]:
    if not re.fullmatch(r"[0-9a-f]{64}", facts.sha256) or facts.width < 1 or facts.height < 1:
        raise InvalidInput(f"image {source[:200]!r}: needs a SHA-256 of 64 hex digits and a positive size")
    return {
        "project_id": project_id,
        "source_digest": source_digest(source),
        "source": checked_text(source, "image address"),
        "sha256": facts.sha256,
        "width": facts.width,
        "height": facts.height,
        "perceptual_hash": facts.perceptual_hash,
    }
