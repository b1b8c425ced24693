"""cni: letting one pod in and out. Exec'ed by the runtime or inside the agent; no etcd."""
