"""The service's tokens: who may do what. Only digests are kept, so a token is shown once and never again."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from sqlalchemy import func, select, update

from autopeft.errors import Conflict, InvalidInput, NotFound, Problem
from autopeft.store.sessions import Sessions
from autopeft.store.tables import TokenRow

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "apt_"


@dataclass(frozen=True)
class Token:
    """What is known of a token.

    Attributes:
        owner: whose it is; searches are submitted in that name.
        scopes: ``admin`` may do everything, ``submit`` read as well.
    """

    id: str
    owner: str
    scopes: tuple[Scope, ...]
    created: float
    revoked: bool

    def may(self, scope: Scope) -> bool:
        """Whether the token allows what needs this scope."""
        return SCOPES.index(scope) <= max(SCOPES.index(one) for one in self.scopes)


class Tokens:
    """All tokens of the service."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def create(self, owner: str, scopes: Iterable[str], secret: str | None = None) -> tuple[Token, str]:
        """Make a token and return it with its secret, which is kept nowhere; a given secret is used if it is new.

        Raises:
            InvalidInput: no owner, a scope that there is not, or a secret that is too short.
            Conflict: the given secret is a token's that was revoked, or has other scopes.
        """
        wanted = tuple(dict.fromkeys(scopes))
        problems = [Problem.unknown("scope", scope, SCOPES) for scope in wanted if scope not in SCOPES]
        if not wanted:
            problems.append(Problem("scope", None, f"give at least one of {', '.join(SCOPES)}"))
        if not owner.strip() or len(owner) > 200:
            problems.append(Problem("owner", owner, "give a name of up to 200 characters"))
        if secret is not None and len(secret) < 22:
            problems.append(Problem("token", None, "too short to be safe; give at least 22 random characters"))
        if problems:
            raise InvalidInput(*problems)
        secret = secret or PREFIX + secrets.token_urlsafe(32)
        identity = f"t-{uuid.uuid4().hex[:8]}"
        with self._sessions.write() as session:
            there = session.scalar(select(TokenRow).where(TokenRow.digest == _digest(secret)))
            if there is not None:
                return _same(_token(there), wanted), secret
            row = TokenRow(
                id=identity,
                owner=owner,
                scopes=" ".join(wanted),
                digest=_digest(secret),
                created=self._sessions.now(session),
                revoked=False,
            )
            session.add(row)
            return _token(row), secret

    def find(self, secret: str) -> Token | None:
        """Return the token of a secret; None where there is none, or it was revoked."""
        with self._sessions.read() as session:
            row = session.scalar(select(TokenRow).where(TokenRow.digest == _digest(secret)))
            return None if row is None or row.revoked else _token(row)

    def list(self) -> list[Token]:
        """Return all tokens, oldest first."""
        with self._sessions.read() as session:
            return [_token(row) for row in session.scalars(select(TokenRow).order_by(TokenRow.created))]

    def any(self) -> bool:
        """Whether there is a token that was not revoked."""
        valid = select(func.count()).select_from(TokenRow).where(TokenRow.revoked.is_(False))
        with self._sessions.read() as session:
            return bool(session.scalar(valid))

    def revoke(self, identity: str) -> None:
        """Make a token worthless.

        Raises:
            NotFound: there is no token of that id.
        """
        with self._sessions.write() as session:
            if session.get(TokenRow, identity) is None:
                raise NotFound(f"no token {identity!r}; `autopeft token list` shows them")
            session.execute(update(TokenRow).where(TokenRow.id == identity).values(revoked=True))


def _same(there: Token, scopes: Iterable[str]) -> Token:
    """Return the token that a given secret has already, if it is the one that is asked for."""
    if there.revoked:
        raise Conflict(f"this token was revoked ({there.id}); give another")
    if set(there.scopes) != set(scopes):
        raise Conflict(f"this token has other scopes ({there.id}: {', '.join(there.scopes)}); give another")
    return there


def _digest(secret: str) -> str:
    # A plain hash is enough: the secret is random and long, not a password that could be guessed.
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _token(row: TokenRow) -> Token:
    return Token(row.id, row.owner, cast("tuple[Scope, ...]", tuple(row.scopes.split())), row.created, row.revoked)
