"""Every metric that the agent exports: one row each. Documentation, dashboard and alerts are held to this table."""

from dataclasses import dataclass

GAUGE, COUNTER, HISTOGRAM, SUMMARY = "gauge", "counter", "histogram", "summary"
MOST_PROBED = 20
"""So many peers have series of their own, the worst of those that probes do not find well."""


@dataclass(frozen=True, slots=True)
class Metric:
    """``name`` as it is exported (a counter's ends with _total); a summary has sum and count only."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


NODE = (
    Metric("overlay_build_info", GAUGE, "Version of the agent.", ("version", "python")),
    Metric(
        "overlay_node_info",
        GAUGE,
        "Who this node is; overlay_instance is the setting instance.",
        ("node", "overlay_instance", "lease", "underlay"),
    ),
    Metric("overlay_verdict", GAUGE, "1 for what overlayctl status says.", ("verdict",)),
    Metric("overlay_in_sync", GAUGE, "1 if the kernel holds all that is wanted."),
    Metric("overlay_ready", GAUGE, "1 if this node takes pods (/readyz)."),
    Metric("overlay_mtu_bytes", GAUGE, "MTU of the pods."),
    Metric("overlay_peers", GAUGE, "Other nodes by state; each is in one.", ("state",)),
    Metric("overlay_facts_age_seconds", GAUGE, "Age of what only the reconcile loop knows."),
    Metric("overlay_loop_last_round_seconds", GAUGE, "Since the reconcile loop last went round."),
    Metric("overlay_loop_round_duration_seconds", HISTOGRAM, "One round's work."),
)
STORE = (
    Metric("overlay_lease_held", GAUGE, "1 while this node holds a subnet lease."),
    Metric("overlay_lease_ttl_seconds", GAUGE, "As granted; 0 is a reservation without expiry."),
    Metric("overlay_lease_remaining_seconds", GAUGE, "Until the lease ends unless renewed."),
    Metric("overlay_etcd_connected", GAUGE, "1 while etcd answers calls and watch."),
    Metric("overlay_etcd_outages_total", COUNTER, "Times that etcd ceased to answer."),
    Metric("overlay_etcd_store_trouble", GAUGE, "1 if etcd is about to refuse writes, or does."),
    Metric(
        "overlay_etcd_request_duration_seconds",
        HISTOGRAM,
        "One call, over all endpoints that were tried.",
        ("operation",),
    ),
    Metric(
        "overlay_etcd_errors_total",
        COUNTER,
        "Calls that failed at every endpoint, or were refused.",
        ("operation", "reason"),
    ),
    Metric("overlay_watch_silent_seconds", GAUGE, "Since the watch's last sign of life."),
    Metric("overlay_watch_revision", GAUGE, "Highest store revision the watch has heard of."),
    Metric(
        "overlay_watch_revisions_behind",
        GAUGE,
        "Store revision of the last call's answer, less the watch's.",
    ),
)
KERNEL = (
    Metric("overlay_kernel_apply_duration_seconds", HISTOGRAM, "One batch of changes."),
    Metric("overlay_kernel_steps_total", COUNTER, "Changes asked for.", ("action", "result")),
    Metric("overlay_kernel_changes_total", COUNTER, "State changes the kernel has accepted."),
    Metric("overlay_kernel_read_duration_seconds", HISTOGRAM, "One full read (a resync)."),
    Metric(
        "overlay_drift_total",
        COUNTER,
        "What others undid, by root cause.",
        ("kind", "fate"),
    ),
    Metric("overlay_mended_steps_total", COUNTER, "Steps that put right what others undid."),
    Metric("overlay_fights", GAUGE, "Objects that others undo again and again."),
)
PODS = (
    Metric(
        "overlay_cni_request_duration_seconds",
        HISTOGRAM,
        "CNI requests until the answer.",
        ("verb", "result"),
    ),
    Metric(
        "overlay_cni_phase_duration_seconds",
        SUMMARY,
        "Parts of CNI requests.",
        ("verb", "phase", "result"),
    ),
    Metric("overlay_cni_errors_total", COUNTER, "Refusals by CNI error code.", ("verb", "code")),
    Metric("overlay_attachments", GAUGE, "Pod interfaces on this node."),
    Metric("overlay_attachments_faulty", GAUGE, "Those with a fault that cannot be mended."),
    Metric("overlay_pods_mended_total", COUNTER, "Pods' links and pages put right after others."),
    Metric("overlay_leftovers_removed_total", COUNTER, "What dead pods left, taken away."),
    Metric("overlay_addresses_used", GAUGE, "Addresses of this node's subnet held.", ("family",)),
    Metric("overlay_addresses_free", GAUGE, "Addresses of this node's subnet left.", ("family",)),
)
PROBES = (
    Metric("overlay_probe_peers", GAUGE, "Peers by what probes found.", ("family", "state")),
    Metric("overlay_probe_loss_ratio", GAUGE, "Lost of all that was sent lately.", ("family",)),
    Metric("overlay_probe_rtt_median_seconds", GAUGE, "Over all peers that answer.", ("family",)),
    Metric("overlay_probe_rtt_worst_seconds", GAUGE, "Over all peers that answer.", ("family",)),
    Metric(
        "overlay_probe_smallest_path_bytes",
        GAUGE,
        "Largest packet that comes back, of the peer where it is smallest.",
        ("family",),
    ),
    Metric(
        "overlay_probe_peer_loss_ratio",
        GAUGE,
        f"Of the {MOST_PROBED} worst peers that are not ok.",
        ("node", "lease", "family", "state"),
    ),
    Metric(
        "overlay_probe_peer_rtt_seconds",
        GAUGE,
        f"Of the {MOST_PROBED} worst peers that are not ok.",
        ("node", "lease", "family", "state"),
    ),
    Metric(
        "overlay_probe_peer_largest_packet_bytes",
        GAUGE,
        f"Of the {MOST_PROBED} worst peers that are not ok.",
        ("node", "lease", "family", "state"),
    ),
)
DOOR = (
    Metric("overlay_http_requests_total", COUNTER, "Answers of this door.", ("path", "code")),
    Metric("overlay_http_turned_away_total", COUNTER, "Connections closed unanswered."),
)
METRICS = (*NODE, *STORE, *KERNEL, *PODS, *PROBES, *DOOR)
PROCESS = (
    Metric("process_cpu_seconds_total", COUNTER, "Processor time."),
    Metric("process_max_fds", GAUGE, "Most descriptors."),
    Metric("process_open_fds", GAUGE, "Descriptors."),
    Metric("process_resident_memory_bytes", GAUGE, "Memory in use."),
    Metric("process_start_time_seconds", GAUGE, "Start, since 1970."),
    Metric("process_virtual_memory_bytes", GAUGE, "Address space."),
)
"""By prometheus_client's own collector, as every exporter has them."""
