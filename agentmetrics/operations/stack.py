"""The configuration of Prometheus, of Grafana's provisioning, and of containers that run both."""

from __future__ import annotations

from agentmetrics.operations.naming import METRICS

TARGETS = "prometheus/targets.yml"
PORT = 9464
"""The port that agents are scraped at by default."""

_PROMETHEUS = """\
# Check it with: promtool check config prometheus.yml
global:
  scrape_interval: 15s
  evaluation_interval: 15s

rule_files:
  - rules/*.yml

# As compose.yaml names it; elsewhere, such as localhost:9093.
alerting:
  alertmanagers:
    - static_configs:
        - targets: ["{alertmanager}"]

scrape_configs:
  # Your programs, one target for each process that serves /metrics: add them to targets.yml, which
  # is read again when it changes.
  - job_name: agentmetrics
    honor_labels: false # a label of the scrape wins over one of the same name in the program
    file_sd_configs:
      - files: [targets.yml]
{demo}
# Exemplars, which link a point of a panel to its trace, are kept when Prometheus is started with
# --enable-feature=exemplar-storage.
"""

_DEMO_JOB = """
  # The demo of compose.yaml; remove it together with that.
  - job_name: agentmetrics-demo
    static_configs:
      - targets: ["demo:{port}"]
{relabeling}"""

_RELABELING = """\
    metric_relabel_configs:
      # The demo knows no namespace.
      - source_labels: [__name__]
        regex: ({prefixes})_(.+)
        target_label: __name__
        replacement: {namespace}_${{1}}_${{2}}
"""

_TARGETS = """\
# The programs to scrape, as host:port. In a container, the machine itself is host.docker.internal.
- targets: []
# - targets: ["host.docker.internal:{port}"]
#   labels:
#     env: production
"""

_DATASOURCES = """\
apiVersion: 1
datasources:
  - name: Prometheus
    uid: agentmetrics-prometheus
    type: prometheus
    access: proxy
    url: http://prometheus:9090
    isDefault: true
    jsonData:
      httpMethod: POST
      timeInterval: 15s # the scrape interval, which $__rate_interval is made from
"""

_DASHBOARDS = """\
apiVersion: 1
providers:
  - name: agentmetrics
    folder: agentmetrics
    type: file
    allowUiUpdates: false
    options:
      path: /etc/grafana/dashboards
"""

_COMPOSE = """\
# Prometheus, Alertmanager and Grafana with everything in this directory, and a demo that gives them
# something to show: docker compose up
# All ports are open to this machine only.
name: agentmetrics

services:
  prometheus:
    image: prom/prometheus:v2.55.1
    command:
      - --config.file=/etc/prometheus/prometheus.yml
      - --storage.tsdb.path=/prometheus
      - --storage.tsdb.retention.time=30d
      - --enable-feature=exemplar-storage
      - --web.external-url=http://localhost:9090
    ports: ["127.0.0.1:9090:9090"]
    volumes:
      - ./prometheus:/etc/prometheus:ro
      - prometheus:/prometheus
    extra_hosts: ["host.docker.internal:host-gateway"]
    healthcheck:
      test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:9090/-/ready"]
      interval: 10s
    restart: unless-stopped

  alertmanager:
    image: prom/alertmanager:v0.27.0
    user: root # secrets can be read by their owner only
    working_dir: /etc/alertmanager # what the paths in alertmanager.yml are relative to
    command:
      - --config.file=/etc/alertmanager/alertmanager.yml
      - --storage.path=/alertmanager
      - --web.external-url=http://localhost:9093
    ports: ["127.0.0.1:9093:9093"]
    volumes:
      - ./alertmanager:/etc/alertmanager:ro
      - alertmanager:/alertmanager
    extra_hosts: ["host.docker.internal:host-gateway"]
    healthcheck:
      test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:9093/-/ready"]
      interval: 10s
    restart: unless-stopped

  grafana:
    image: grafana/grafana:11.6.0
    environment:
      # Whoever can reach the port may look, and log in as admin to edit. Set a password before you
      # open it to others.
      GF_AUTH_ANONYMOUS_ENABLED: "true"
      GF_AUTH_ANONYMOUS_ORG_ROLE: Viewer
      GF_SECURITY_ADMIN_PASSWORD: ${{GRAFANA_ADMIN_PASSWORD:-admin}}
      GF_ANALYTICS_REPORTING_ENABLED: "false"
      GF_ANALYTICS_CHECK_FOR_UPDATES: "false"
      GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: /etc/grafana/dashboards/overview.json
    ports: ["127.0.0.1:3000:3000"]
    volumes:
      - ./grafana/provisioning:/etc/grafana/provisioning:ro
      - ./grafana:/etc/grafana/dashboards:ro
      - grafana:/var/lib/grafana
    healthcheck:
      test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:3000/api/health"]
      interval: 10s
    depends_on: [prometheus]
    restart: unless-stopped

  demo:
    image: python:3.12-slim
    command:
      - sh
      - -c
      - >-
        pip install --quiet 'llm-agentmetrics[demo]' &&
        exec agentmetrics demo --serve --host 0.0.0.0
    ports: ["127.0.0.1:{port}:{port}"]
    healthcheck:
      test:
        - CMD
        - python
        - -c
        - import urllib.request; urllib.request.urlopen("http://127.0.0.1:{port}/metrics")
      interval: 10s
      start_period: 3m # it is installed first

volumes:
  prometheus:
  alertmanager:
  grafana:
"""


def prometheus_files(demo_namespace: str | None) -> dict[str, str]:
    """The configuration of Prometheus, and the file that lists its targets.

    ``demo_namespace`` is what the metrics of the demo are to begin with; without one, the demo is
    not scraped.
    """
    demo = "" if demo_namespace is None else _demo_job(demo_namespace)
    config = _PROMETHEUS.format(alertmanager="alertmanager:9093", demo=demo)
    return {
        "prometheus/prometheus.yml": config,
        TARGETS: _TARGETS.format(port=PORT),
    }


def _demo_job(namespace: str) -> str:
    prefixes = sorted({name.partition("_")[0] for name in METRICS})
    relabeling = _RELABELING.format(prefixes="|".join(prefixes), namespace=namespace)
    return _DEMO_JOB.format(port=PORT, relabeling=relabeling if namespace else "")


def grafana_provisioning() -> dict[str, str]:
    """The files that make Grafana find Prometheus and the dashboards when it starts."""
    return {
        "grafana/provisioning/datasources/prometheus.yaml": _DATASOURCES,
        "grafana/provisioning/dashboards/agentmetrics.yaml": _DASHBOARDS,
    }


def compose() -> str:
    """The containers."""
    return _COMPOSE.format(port=PORT)
