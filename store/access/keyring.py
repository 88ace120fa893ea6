"""The service's own key: API keys are hashed with it, and tenants' secrets sealed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from store.settings import Settings

MIN_LENGTH = 32


class SecretKey:
    """What the lines of a key file are good for: the first makes, all of them recognise.

    To rotate, put a new line first; the old ones can go when nothing that they made is left.
    """

    def __init__(self, lines: list[str]) -> None:
        """
        Raises:
            ValueError: there is no line, or one is too short to be a secret.
        """
        if not lines or min(map(len, lines)) < MIN_LENGTH:
            raise ValueError(
                f"it must hold lines of at least {MIN_LENGTH} random characters, such as `openssl rand -hex 32`"
            )
        self._peppers = [_derive(line, "api keys") for line in lines]
        self._box = MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(line, "secrets"))) for line in lines])

    def digest(self, secret: str) -> str:
        """HMAC-SHA256 of an API key's secret, in hex. It has 256 random bits, so that no slow hash is needed."""
        return _hmac(self._peppers[0], secret)

    def matches(self, secret: str, digest: str) -> bool:
        """Whether a digest is this secret's; takes the same time wherever the two differ."""
        return any(hmac.compare_digest(_hmac(pepper, secret), digest) for pepper in self._peppers)

    def seal(self, text: str) -> str:
        """Encrypt and authenticate."""
        return self._box.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text that was sealed.

        Raises:
            ValueError: it was altered, or sealed with a key that the file no longer has.
        """
        try:
            return self._box.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise ValueError("it was sealed with another key, or altered") from None


def load(settings: Settings) -> SecretKey:
    """The key of this deployment; a file with a new one is made where there is none.

    Raises:
        ValueError: the file's contents are no key; the message names it.
    """
    path = settings.secret_key_file or settings.data_dir / "secret.key"
    if settings.secret_key_file is None:
        _make(path)
    try:
        return SecretKey([line.strip() for line in path.read_text().splitlines() if line.strip()])
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot use the secret key file {path}: {error}") from None


def _make(path: Path) -> None:
    """Create the file unless it is there; whole or not at all, whoever else tries at the same moment."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _derive(line: str, purpose: str) -> bytes:
    """32 bytes for one purpose, so that what is made for one is worthless for the other."""
    return hmac.new(line.encode(), f"uniapl {purpose}".encode(), hashlib.sha256).digest()


def _hmac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
