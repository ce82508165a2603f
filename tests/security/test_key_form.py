from security.keys import hash_key, key_hint, new_key


def test_keys_are_long_and_differ() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("sk-way-") and len(key) >= 50 for key in keys)


def test_hash_takes_any_text() -> None:
    assert len(hash_key("é\ud800")) == 64
    assert hash_key("a") != hash_key("b")


def test_hint_is_the_end() -> None:
    assert key_hint("sk-way-abcd1234") == "1234"
