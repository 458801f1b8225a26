"""The desk's database: tickets and orders, in PostgreSQL, with metrics of queries and the pool."""

import os

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from agentmetrics_sqlalchemy import instrument_engine


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]


class Ticket(Base):
    __tablename__ = "tickets"
    id: Mapped[int] = mapped_column(primary_key=True)
    question: Mapped[str]
    answer: Mapped[str | None]


engine = create_engine(os.environ["DATABASE_URL"])
instrument_engine(engine)
Session = sessionmaker(engine)


def prepare() -> None:
    """Make the tables, and the one order that the shop has."""
    Base.metadata.create_all(engine)
    with Session.begin() as session:
        session.merge(Order(id=1, status="on its way"))


if __name__ == "__main__":
    prepare()
