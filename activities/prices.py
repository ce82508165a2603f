"""What model requests cost by their list prices, from the data that `genai-prices` brings; nothing is fetched.

Each request is priced by itself when it is stored, as prices may depend on its length. That is the worker's part: only
it knows the requests, and the API need not load the prices.
"""

from functools import lru_cache
from typing import Any, Final

from genai_prices import Usage, __version__, calc_price

from store.usage import Cost

Json = dict[str, Any]

SOURCE: Final = f"genai-prices {__version__}"
RUNTIME: Final = "runtime"
_NANO: Final = 10**9


def cost_of(model: str, tokens: Json, reported_usd: float | None) -> Cost | None:
    """Return the cost of a request: what the runtime reported, else by list price; None where neither is known.

    `model` is the agent's: a model's name, or `provider/model`. `tokens` is the API's `model_usage`.
    """
    if reported_usd is not None:
        return Cost(round(reported_usd * _NANO), RUNTIME)
    cached_read = int(tokens.get("cache_read_input_tokens") or 0)
    cached_write = int(tokens.get("cache_creation_input_tokens") or 0)
    total_input = int(tokens.get("input_tokens") or 0) + cached_read + cached_write
    nano_usd = _list_price(model, total_input, int(tokens.get("output_tokens") or 0), cached_read, cached_write)
    return None if nano_usd is None else Cost(nano_usd, SOURCE)


@lru_cache(maxsize=4096)
def _list_price(model: str, total_input: int, output: int, cached_read: int, cached_write: int) -> int | None:
    provider, slash, name = model.partition("/")
    usage = Usage(
        input_tokens=total_input,
        output_tokens=output,
        cache_read_tokens=cached_read,
        cache_write_tokens=cached_write,
    )
    try:
        price = calc_price(usage, name if slash else model, provider_id=provider if slash else None)
    except (LookupError, ValueError):
        return None
    return round(price.total_price * _NANO)
