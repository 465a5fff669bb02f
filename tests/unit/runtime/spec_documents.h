#pragma once

/// Bundles' config.json as other programs write them, shortened.
namespace coppice::runtime {

inline constexpr const char* kMinimalSpec = R"({
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["true"], "cwd": "/"},
    "linux": {"namespaces": [{"type": "mount"}]}
})";

/// `runc spec`
inline constexpr const char* kRuncSpec = R"({
    "ociVersion": "1.0.2-dev",
    "process": {
        "terminal": true,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            "bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": true
    },
    "root": {"path": "rootfs", "readonly": true},
    "hostname": "runc",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
    ],
    "linux": {
        "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
        "maskedPaths": ["/proc/acpi", "/proc/kcore"],
        "readonlyPaths": ["/proc/bus", "/proc/sys"]
    }
})";

/// podman with a user namespace, a network namespace made before, and limits
inline constexpr const char* kPodmanSpec = R"({
    "ociVersion": "1.2.1",
    "process": {
        "terminal": true, "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [10, 20]},
        "args": ["/bin/sh", "-c", "echo hi"],
        "env": ["PATH=/bin", "container=podman", "HOME=/"],
        "cwd": "/work",
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": [], "permitted": null},
        "rlimits": [{"type": "RLIMIT_NPROC", "hard": 4194304, "soft": 4194304}],
        "oomScoreAdj": 100,
        "apparmorProfile": ""
    },
    "root": {"path": "/var/lib/containers/storage/overlay/x/merged"},
    "hostname": "abc",
    "mounts": [
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "gid=5"],
         "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}], "gidMappings": [{"containerID": 0, "hostID": 5, "size": 1}]},
        {"destination": "/etc/hosts", "type": "bind", "source": "/run/hosts", "options": ["bind", "rprivate"]}
    ],
    "hooks": {"poststop": [{"path": "/usr/bin/podman", "args": ["podman", "cleanup"], "env": [], "timeout": 10}]},
    "annotations": {"io.container.manager": "libpod", "org.opencontainers.image.stopSignal": "15"},
    "linux": {
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65536}],
        "sysctl": {"net.ipv4.ping_group_range": "0 0"},
        "resources": {
            "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}],
            "memory": {"limit": 67108864, "swap": 134217728},
            "cpu": {"quota": 50000, "period": 100000},
            "pids": {"limit": 2048}
        },
        "cgroupsPath": "/libpod_parent/libpod-abc",
        "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/netns-1"}, {"type": "ipc"}, {"type": "uts"},
                       {"type": "mount"}, {"type": "user"}],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 131072, "valueTwo": 131072, "op": "SCMP_CMP_MASKED_EQ"}]}
            ]
        },
        "maskedPaths": ["/proc/acpi"], "readonlyPaths": ["/proc/bus"]
    }
})";

} // namespace coppice::runtime
