# SPDX-License-Identifier: Apache-2.0
"""How an endpoint is reached: proxy and certificates from the environment, checked before the first request."""

from __future__ import annotations

import importlib.util
import os
import ssl
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from erl_vlm_ros.common.errors import Code, ConfigError

_SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for this address; None: none, or NO_PROXY excepts the host.

    Raises:
        ConfigError: a proxy of a kind that cannot be spoken to; names the variable, and shows no password.
    """
    url = urlsplit(base_url)
    proxies = urllib.request.getproxies_environment()
    kind = url.scheme if url.scheme in proxies else "all"
    proxy = proxies.get(kind)
    if not proxy or urllib.request.proxy_bypass_environment(url.netloc.rpartition("@")[2], proxies):
        return None
    variable = next((name for name in os.environ if name.lower() == f"{kind}_proxy"), f"{kind}_proxy")
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    scheme = urlsplit(proxy).scheme
    escape = f"or except the endpoint: export NO_PROXY={url.hostname}"
    if scheme not in _SCHEMES:
        hint = "write socks5:// for a SOCKS proxy" if scheme.startswith("socks") else f"write {' or '.join(_SCHEMES)}"
        raise ConfigError(
            f"the environment variable {variable} names a proxy with '{scheme}://': {hint}, {escape}",
            parameter=variable,
        )
    if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        text = f"the environment variable {variable} names a SOCKS proxy, which needs `pip install socksio`, {escape}"
        raise ConfigError(text, code=Code.MISSING_PACKAGE, parameter=variable, remedy="pip install socksio")
    return proxy


def certificates_for(base_url: str) -> ssl.SSLContext | bool:
    """What verifies an https endpoint: SSL_CERT_FILE and SSL_CERT_DIR where they are set; True: the usual ones.

    Raises:
        ConfigError: they name what does not exist or holds no certificate.
    """
    given = {name: os.environ.get(name, "") for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    if urlsplit(base_url).scheme != "https" or not any(given.values()):
        return True
    for name, path in given.items():
        if path and not Path(path.split(os.pathsep)[0]).exists():
            text = f"the environment variable {name} names {path}, which does not exist; correct or unset it"
            raise ConfigError(text, code=Code.MISSING_FILE, parameter=name, file=path)
    try:
        return ssl.create_default_context(
            cafile=given["SSL_CERT_FILE"] or None, capath=given["SSL_CERT_DIR"].split(os.pathsep)[0] or None
        )
    except (OSError, ssl.SSLError) as error:
        text = f"the certificates in SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error}"
        raise ConfigError(text, code=Code.UNREADABLE, parameter="SSL_CERT_FILE") from None
