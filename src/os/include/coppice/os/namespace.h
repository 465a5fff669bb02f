#pragma once

#include "coppice/os/fd.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace coppice::os {

/// A kind of namespace with its three names: clone flag, entry below /proc/PID/ns, word in the OCI specification.
struct NamespaceKind {
    std::uint64_t flag;
    const char* proc_name;
    const char* oci_name;
};

/// In the order in which they are entered: the user namespace first, because it gives the rights for the others.
const std::array<NamespaceKind, 8>& namespace_kinds();
/// nullptr when the word is unknown.
const NamespaceKind* find_namespace_kind(std::string_view oci_name);

/// Opens a namespace file and checks that it is one of `kind`. Errors: NotFound, Invalid (another kind or no namespace)
Result<Fd> open_namespace(const NamespaceKind& kind, const std::string& path);
/// The namespace of a process.
Result<Fd> open_namespace_of(pid_t pid, const NamespaceKind& kind);

/// setns(2) with one namespace, or with several of a process at once (`pidfd`, Linux 5.8).
Result<> enter_namespace(const Fd& ns, std::uint64_t flag);
Result<> enter_namespaces_of(const Fd& pidfd, std::uint64_t flags);
/// unshare(2)
Result<> leave_namespaces(std::uint64_t flags);

/// The clone flags of those namespaces of `pid` that differ from the caller's.
Result<std::uint64_t> differing_namespaces(pid_t pid);

} // namespace coppice::os
