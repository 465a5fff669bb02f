#pragma once

#include "coppice/security/ssh_key.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace coppice::node {

/// New SSH host keys. Searching the primes of an RSA key takes longer than all else of an instance's start, so a few
/// are made ahead: of OpenSSH's default size, and of each that was once asked for. Any thread.
class SshKeys {
public:
    SshKeys();
    SshKeys(const SshKeys&) = delete;
    SshKeys& operator=(const SshKeys&) = delete;
    ~SshKeys(); ///< stops what is being made

    /// When none is ready it is made on the spot.
    security::SshKey take(const security::SshKeyForm& form);

private:
    void work();
    std::optional<security::SshKey> take_ready(unsigned rsa_bits);

    std::atomic<bool> ending_ = false;
    std::mutex mutex_; ///< of `ready_`
    std::condition_variable changed_;
    std::map<unsigned, std::vector<security::SshKey>> ready_; ///< RSA keys by their size
    std::thread thread_;
};

} // namespace coppice::node
