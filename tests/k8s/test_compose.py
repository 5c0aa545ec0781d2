"""The compose stack, read: what is published, what is secret, who reaches whom."""

import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from legato.deployments.arguments import parse
from legato.deployments.openai.auth import PUBLIC_PATHS
from legato.tests.k8s.compose import (
    FOLDER,
    example_environment,
    filled_in,
    read,
    services,
    variables,
    words_of,
)

PROFILES = {"proxy", "auth", "webui", "monitoring", "tracing", "automation", "vectors"}
SECRET = re.compile(r"KEY|TOKEN|PASSWORD|SECRET|SALT|AUTH$")
# Names that look like it, and are none.
NO_SECRETS = frozenset({"KC_DB_USERNAME", "LANGFUSE_S3_EVENT_UPLOAD_ACCESS_KEY_ID", "WEBUI_URL"})


def _routes() -> dict[str, Any]:
    text = (FOLDER / "traefik" / "routes.yaml").read_text(encoding="utf-8")
    http: dict[str, Any] = yaml.safe_load(text)["http"]
    return http


def _targets() -> dict[str, str]:
    """Traefik's name of a service -> the host that it sends requests to."""
    return {
        name: str(urlsplit(service["loadBalancer"]["servers"][0]["url"]).hostname)
        for name, service in _routes()["services"].items()
    }


def test_legato_takes_the_command_line() -> None:
    service = services()["legato"]
    config = parse(words_of(service["command"]), service["environment"]).config
    assert config.server.host == "0.0.0.0"
    assert config.server.api_key == ("secret-LEGATO_API_KEY",)
    assert config.model.model == example_environment()["MODEL"]
    grace_s = float(service["stop_grace_period"].removesuffix("s"))
    assert grace_s > config.server.shutdown_timeout


def test_without_a_gpu_the_built_in_model_is_served() -> None:
    service = read("cpu.yaml", filled_in())["services"]["legato"]
    config = parse(words_of(service["command"]), {}).config
    assert config.model_names == ("default",)
    assert "legato-tiny" in config.model.model
    assert service["deploy"] is None


def test_only_the_proxy_is_published() -> None:
    published = {name for name, service in services().items() if "ports" in service}
    assert published == {"traefik"}
    assert services()["traefik"]["ports"] == ["80:80", "443:443"]


def test_stores_have_no_way_out_and_are_seen_by_their_owner_alone() -> None:
    networks = read("compose.yaml", filled_in())["networks"]
    closed = {name for name, network in networks.items() if network and network["internal"]}
    assert closed == {"inside", "identities", "traces"}
    for name, service in services().items():
        reachable = name in _targets().values() or name == "traefik"
        assert ("edge" in service["networks"]) == reachable, name


def test_every_image_has_a_version() -> None:
    for name, service in services().items():
        tag = service["image"].rpartition(":")[2]
        assert re.search(r"\d+\.\d+|RELEASE\.\d{4}-", tag), f"{name}: {service['image']}"


def test_no_secret_stands_in_a_file() -> None:
    other = {name: f"other-{name}" for name in filled_in()}
    again = read("compose.yaml", other)["services"]
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable) and variable not in NO_SECRETS and not _is_setting(value):
                assert value != again[name]["environment"][variable], f"{name}: {variable}"


def _is_setting(value: str) -> bool:
    return value in ("true", "false") or value.startswith(("http://", "https://", "X-"))


def test_the_example_has_every_variable_and_no_secret() -> None:
    example = example_environment()
    asked = variables("compose.yaml") | variables("cpu.yaml")
    assert asked <= example.keys()
    # Grafana's own variables are not ours, and nothing is left over.
    assert example.keys() <= asked
    assert not [name for name, value in example.items() if SECRET.search(name) and value]


def test_it_does_not_start_without_a_key_for_the_api() -> None:
    with pytest.raises(KeyError, match="LEGATO_API_KEY"):
        read("compose.yaml", example_environment())


def test_every_service_says_how_it_is_and_gains_no_rights() -> None:
    for name, service in services().items():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]
    check = " ".join(services()["legato"]["healthcheck"]["test"])
    assert check.rpartition("8000")[2] in PUBLIC_PATHS


def test_profiles_are_those_of_the_table_and_bring_what_they_wait_for() -> None:
    found = services()
    profiles = {name: set(service.get("profiles", [])) for name, service in found.items()}
    assert set().union(*profiles.values()) == PROFILES
    assert not profiles["legato"]
    for name, service in found.items():
        for needed in service.get("depends_on", {}):
            assert not profiles[needed] or profiles[needed] == profiles[name]


def test_routes_lead_to_services_and_uis_are_behind_the_login() -> None:
    routes = _routes()
    assert set(_targets().values()) <= services().keys()
    for name, router in routes["routers"].items():
        assert router["entryPoints"] == ["https"]
        assert "tls" in router
        assert router["service"] in routes["services"]
        guards = router.get("middlewares", [])
        assert set(guards) <= routes["middlewares"].keys()
        if name not in ("api", "login", "login-check"):
            assert guards == ["login-page", "login"]


def test_the_api_route_shows_nothing_but_the_api() -> None:
    api = _routes()["routers"]["api"]
    assert "PathPrefix(`/v1`)" in api["rule"]
    assert "no-identity" in api["middlewares"]


def test_who_somebody_is_comes_from_the_login_alone() -> None:
    middlewares = _routes()["middlewares"]
    trusted = set(middlewares["login"]["forwardAuth"]["authResponseHeaders"])
    assert trusted == set(middlewares["no-identity"]["headers"]["customRequestHeaders"])
    asked = {
        services()["open-webui"]["environment"]["WEBUI_AUTH_TRUSTED_EMAIL_HEADER"],
        services()["grafana"]["environment"]["GF_AUTH_PROXY_HEADER_NAME"],
    }
    assert asked <= trusted


def test_files_that_are_mounted_exist() -> None:
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), f"{name}: {source}"


def test_the_realm_has_the_client_that_the_login_uses() -> None:
    realm = json.loads((FOLDER / "keycloak" / "realm.json").read_text(encoding="utf-8"))
    login = services()["oauth2-proxy"]["environment"]
    (client,) = realm["clients"]
    assert client["clientId"] == login["OAUTH2_PROXY_CLIENT_ID"]
    assert client["secret"] == "${OAUTH2_CLIENT_SECRET}"
    domain = filled_in()["DOMAIN"]
    redirects = [uri.replace("${DOMAIN}", domain) for uri in client["redirectUris"]]
    assert redirects == [login["OAUTH2_PROXY_REDIRECT_URL"]]
    assert f"/realms/{realm['realm']}/" in login["OAUTH2_PROXY_LOGIN_URL"]


def test_prometheus_and_grafana_find_legato() -> None:
    scrape = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yaml").read_text())
    ((target,),) = [
        static["targets"] for job in scrape["scrape_configs"] for static in job["static_configs"]
    ]
    assert target == "legato:8000"
    assert "inside" in services()["prometheus"]["networks"]
    assert "inside" in services()["legato"]["networks"]
