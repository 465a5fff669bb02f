#pragma once

#include "coppice/import/oci_image.h"

/// What other programs get for us. All block, up to hours, and may be called by any thread; a stop request ends the
/// programs within seconds.
namespace coppice::imports {

struct RegistryOptions {
    std::string architecture; ///< in OCI's words; empty: this machine's
    std::string authfile;     ///< as `skopeo login` and `podman login` write it; empty: where those have it
    bool plain_http = false;  ///< without TLS, or without checking certificates
};

/// An image from a registry, such as "docker.io/library/debian:12", by the program skopeo: into an OCI layout below
/// Context::spool_path, which is gone afterwards. Its signature policy (policy.json) counts. Its manifest says what it
/// takes before it is fetched; more than that is not taken.
/// Errors: NotFound (image, program), Denied (credentials), Unavailable (network, TLS, Limits), Invalid (reference),
/// Corrupt (the registry sends something else)
Result<Imported> import_registry(const std::string& reference, const RegistryOptions& options, const Context& context);

/// A freshly made root of Debian or Ubuntu, by the program mmdebstrap.
/// @param distribution "debian" or "ubuntu"; `mirror` may be empty
/// Errors: NotFound (program), Invalid (names), Os (its last words)
Result<Imported> import_suite(const std::string& distribution, const std::string& suite, const std::string& mirror,
                              const Context& context);

/// The root of a running machine, by the programs tar (there) and ssh: one file system after another, without what is
/// in /proc, /sys, /dev, /run, /tmp and in stores (Store::kTagFile). What changes meanwhile comes as tar found it.
/// @param host [user@]host[:port] for ssh, whose keys and configuration count; empty: this machine
/// @param file_systems absolute paths; what is mounted below one is not entered
/// Errors: NotFound (program), Unavailable (host), Denied (the files, the key), Invalid
Result<Imported> import_machine(const std::string& host, const std::vector<std::string>& file_systems,
                                const Context& context);

} // namespace coppice::imports
