"""The service's secret key, which hashes API keys and encrypts tenants' secrets."""

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
    """Keys derived from the lines of a key file: the first line hashes and encrypts, all lines verify and decrypt.

    To rotate, insert a new first line; remove an old line once nothing made with it remains.
    """

    def __init__(self, lines: list[str]) -> None:
        """
        Raises:
            ValueError: there is no line, or one is too short.
        """
        if not lines or min(map(len, lines)) < MIN_LENGTH:
            raise ValueError(
                f"it must hold lines of at least {MIN_LENGTH} random characters, such as `openssl rand -hex 32`"
            )
        self._peppers = [_derive(line, "api keys") for line in lines]
        self._box = MultiFernet([Fernet(base64.urlsafe_b64encode(_derive(line, "secrets"))) for line in lines])

    def digest(self, secret: str) -> str:
        """HMAC-SHA256 of an API key's secret, in hex. A secret has 256 random bits, so a slow hash is unnecessary."""
        return _hmac(self._peppers[0], secret)

    def matches(self, secret: str, digest: str) -> bool:
        """Whether a digest belongs to this secret, compared in constant time."""
        return any(hmac.compare_digest(_hmac(pepper, secret), digest) for pepper in self._peppers)

    def seal(self, text: str) -> str:
        """Encrypt and authenticate."""
        return self._box.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt and verify.

        Raises:
            ValueError: the text was altered, or encrypted with a key that the file no longer has.
        """
        try:
            return self._box.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise ValueError("it was encrypted with another key, or altered") from None


def load(settings: Settings) -> SecretKey:
    """The key of this deployment; creates the default file if it is missing.

    Raises:
        ValueError: the file cannot be read or holds no valid key; the message names it.
    """
    path = settings.secret_key_file or settings.data_dir / "secret.key"
    if settings.secret_key_file is None:
        _make(path)
    try:
        return SecretKey([line.strip() for line in path.read_text().splitlines() if line.strip()])
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot use the secret key file {path}: {error}") from None


def _make(path: Path) -> None:
    """Create the file atomically unless it exists; of concurrent creators one wins."""
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
    """32 bytes for one purpose: keys of different purposes are independent."""
    return hmac.new(line.encode(), f"uniapl {purpose}".encode(), hashlib.sha256).digest()


def _hmac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
