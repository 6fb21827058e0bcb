"""Configuration files: what they say, and what is said of their mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collab import cli
from collab.deploy import logs
from collab.deploy.configuration import LABORATORY_INGRESS, Serving, joining, load_server, load_site, serving
from collab.deploy.limit_settings import LimitSettings
from collab.deploy.quota import Quota
from collab.errors import CredentialsError, ScenarioError
from simnet.guards import Limits
from simnet.ingress import Credentials
from tests.collab.deploy.deployments import AUDIENCE, Deployment
from tests.collab.test_run import TEXT

SERVER = """\
scenario: ../tiny.yaml
listen: {host: 0.0.0.0, port: 0}
tls:
  certificate: server.pem
  key: server.key
  client_authority: authority.pem
tokens: {public_key: tokens.pub, audience: this run}
revoked: revoked.txt
"""
SITE = """\
server: https://collab.example:8443
authority: authority.pem
token: site.token
"""


@pytest.fixture
def folder(tmp_path):
    deployment = Deployment(tmp_path)
    (tmp_path / "site.token").touch(0o600)
    (tmp_path / "site.token").write_text(deployment.token() + "\n")
    return tmp_path


def written(folder, text):
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_a_server_as_it_says(folder):
    config = written(folder, SERVER)
    how = serving(None, config, address=None, port=None, store=None, runs_dir=None)
    assert (how.scenario, how.runs_dir, how.store) == (folder / "../tiny.yaml", folder / "runs", None)
    assert (how.address, how.port) == ("0.0.0.0", 0)
    assert how.ingress.authenticator.challenge == f'Bearer realm="{AUDIENCE}"'
    token = (folder / "site.token").read_text().strip()
    found = how.ingress.authenticator.identify(Credentials(None, f"Bearer {token}"))
    assert (found.host, found.tenant) == ("client-0", "north")
    assert serving(None, config, address="::1", port=9, store=None, runs_dir=None).port == 9


def test_what_its_operator_has_of_a_server_is_there_unless_it_is_turned_off(folder):
    def how(text, metrics_port=None):
        nothing = {"address": None, "port": None, "store": None, "runs_dir": None}
        return serving(None, written(folder, SERVER + text), **nothing, metrics_port=metrics_port)

    given = how("")
    assert (given.metrics.host, given.metrics.port) == ("127.0.0.1", 9464)
    assert (given.log.level, given.log.format, given.grace_s) == ("info", "json", 30.0)
    given = how("metrics: {host: 10.0.0.1}\nlog: {level: warning, format: text}\ngrace_s: 5\n")
    assert (given.metrics.host, given.metrics.port) == ("10.0.0.1", 9464)
    assert (given.log.level, given.log.format, given.grace_s) == ("warning", "text", 5.0)
    assert how("metrics: null\n").metrics is None
    assert how("metrics: null\n", metrics_port=7).metrics.port == 7
    given = how("metrics: {host: 10.0.0.1}\n", metrics_port=0).metrics
    assert (given.host, given.port) == ("10.0.0.1", 0)


def test_the_laboratory_without_a_configuration(tmp_path):
    scenario = tmp_path / "a.yaml"
    how = serving(scenario, None, address=None, port=None, store=None, runs_dir=None)
    assert how == Serving(scenario, "127.0.0.1", 8080, None, how.runs_dir, LABORATORY_INGRESS, "")
    assert joining("http://a", None, site=None, scenario=None, patience_s=None).patience_s == 60.0
    assert (how.metrics, how.log) == (None, None)
    metrics = serving(scenario, None, address=None, port=None, store=None, runs_dir=None, metrics_port=7).metrics
    assert (metrics.host, metrics.port) == ("127.0.0.1", 7)


def test_a_site_as_it_says_with_a_token_that_may_change(folder):
    how = joining(None, written(folder, SITE), site="client-0", scenario=None, patience_s=0.0)
    assert (how.url, how.site, how.patience_s) == ("https://collab.example:8443", "client-0", 0.0)
    assert (how.disk, how.log.format, how.grace_s) == (None, "json", 30.0)
    assert joining(None, folder / "config.yaml", site=None, scenario=None, patience_s=None, disk=folder).disk == folder
    (folder / "site.token").write_text("next\n")
    assert how.egress.headers(how.url) == {"Authorization": "Bearer next"}
    (folder / "site.token").write_text("two words\n")
    with pytest.raises(CredentialsError, match=r"site\.token holds no token; expected one line"):
        how.egress.headers(how.url)
    (folder / "site.token").chmod(0o644)
    with pytest.raises(CredentialsError, match=r"others may read it \(644\): chmod 600"):
        joining(None, folder / "config.yaml", site=None, scenario=None, patience_s=None)


def test_a_server_without_limits_has_those_of_every_server(folder):
    how = serving(None, written(folder, SERVER), address=None, port=None, store=None, runs_dir=None)
    assert (how.ingress.limits, how.quota) == (Limits(), Quota())


def test_a_server_has_the_limits_that_it_says(folder):
    said = """\
limits:
  requests_per_s: 1
  request_burst: 2
  requests_at_once: 3
  requests_in_all: 4
  connections: 5
  connections_per_address: 6
  head_time: 7 s
  least_rate: 8 kbit/s
  rate_window: 9 s
  free_disk: 10 MB
  disk_per_site: 11 MB
  unfinished_kept: 12 min
"""
    how = serving(None, written(folder, SERVER + said), address=None, port=None, store=None, runs_dir=None)
    assert how.ingress.limits == Limits(1, 2, 3, 4, 5, 6, 7.0, 8000.0, 9.0)
    assert how.quota == Quota(free_bytes=10_000_000, site_bytes=11_000_000, unfinished_s=720.0)


def test_the_page_of_deployment_has_every_limit_with_its_default():
    table = (Path(__file__).parents[3] / "docs/deployment.md").read_text().split("| setting | default |")[1]
    told = {}
    for row in table.split("\n\n")[0].splitlines()[2:]:
        names, defaults = row.split("|")[1:3]
        told |= dict(zip(re.findall(r"`(\w+)`", names), defaults.strip().split(", "), strict=True))
    assert set(told) == set(LimitSettings.model_fields)
    assert LimitSettings(**told) == LimitSettings()


def test_the_command_holds_its_store_to_the_quota(folder, monkeypatch):
    class SeenError(BaseException):
        pass

    def store(place, identity, *, quota):
        raise SeenError(quota)

    monkeypatch.setattr("collab.deploy.store.Store", store)
    config = written(folder, SERVER.replace("../tiny.yaml", "tiny.yaml") + "limits: {disk_per_site: 5 MB}\n")
    (folder / "tiny.yaml").write_text(TEXT)
    try:
        with pytest.raises(SeenError) as seen:
            cli.serve(config=config)
    finally:
        logs.end()  # which else ends with the process
    assert seen.value.args == (Quota(site_bytes=5_000_000),)


def test_in_the_laboratory_many_sites_behind_one_address_are_welcome():
    ours, theirs = LABORATORY_INGRESS.limits, Limits()
    assert ours.connections_per_address == ours.connections == theirs.connections
    assert (ours.head_s, ours.least_bps, ours.window_s) == (theirs.head_s, theirs.least_bps, theirs.window_s)


WRONG_SERVERS = [
    (SERVER + "limits: {requests: 5}\n", r':9:10: limits.requests: there is no setting "requests" here'),
    (SERVER + "limits: {connections: 0}\n", r":9:23: limits.connections: found 0, expected at least 1"),
    (SERVER + "limits: {head_time: 0 s}\n", r":9:21: limits.head_time: found "),
    (SERVER.replace("tls:", "tsl:"), r':3:1: tsl: there is no setting "tsl" here; did you mean "tls"'),
    (SERVER.replace("port: 0", "port: 70000"), r":2:31: listen.port: found 70000, expected at most 65535"),
    (SERVER.replace("  key: server.key\n", ""), r':3:1: tls.key: the setting "key" is missing'),
    (
        SERVER.replace("  client_authority: authority.pem\n", "").replace("tokens:", "#"),
        r":3:1: tls: nothing would prove who a site is: name tls.client_authority",
    ),
    (SERVER + "log: {format: xml}\n", r':9:15: log.format: found "xml" \(known: json, text\)'),
    (SERVER + "grace_s: -1\n", r":9:10: grace_s: found -1, expected at least 0"),
    (SERVER.replace("scenario: ../tiny.yaml\n", ""), r':1:1: scenario: the setting "scenario" is missing'),
]


@pytest.mark.parametrize(("text", "message"), WRONG_SERVERS)
def test_mistakes_of_a_server_are_told_with_their_line(folder, text, message):
    with pytest.raises(ScenarioError, match=r"config\.yaml" + message):
        load_server(written(folder, text))


WRONG_SITES = [
    (SITE.replace("https", "http"), r":1:9: server: found \"http://collab.example:8443\", expected"),
    (SITE.replace("token: site.token\n", ""), r"nothing proves who this site is: give certificate and key, or token"),
    (SITE + "key: a.key\n", r":4:6: key: a certificate and its key go together; give both or neither"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_SITES)
def test_mistakes_of_a_site_are_told_with_their_line(folder, text, message):
    with pytest.raises(ScenarioError, match=message):
        load_site(written(folder, text))


def test_files_that_are_not_there_are_told_before_anything_begins(folder):
    (folder / "revoked.txt").unlink()
    with pytest.raises(CredentialsError, match=r"revoked\.txt cannot be read: No such file"):
        load_server(written(folder, SERVER)).ingress()
