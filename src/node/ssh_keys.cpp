#include "ssh_keys.h"

#include <algorithm>
#include <sys/resource.h>

namespace coppice::node {

namespace {

constexpr std::size_t kReady = 2; ///< of each size
constexpr unsigned kUsualBits = 3072;
constexpr int kNice = 19;

using Kind = security::SshKeyForm::Kind;

} // namespace

SshKeys::SshKeys()
{
    ready_[kUsualBits]; // to be filled
    thread_ = std::thread{[this] { work(); }};
}

SshKeys::~SshKeys()
{
    {
        const std::lock_guard lock{mutex_};
        ending_ = true;
        changed_.notify_all();
    }
    thread_.join();
}

std::optional<security::SshKey> SshKeys::take_ready(unsigned rsa_bits)
{
    const std::lock_guard lock{mutex_};
    auto& keys = ready_[rsa_bits];
    changed_.notify_all();
    if (keys.empty()) return {};
    auto key = std::move(keys.back());
    keys.pop_back();
    return key;
}

security::SshKey SshKeys::take(const security::SshKeyForm& form)
{
    if (form.kind == Kind::Rsa)
        if (auto ready = take_ready(form.bits)) return *std::move(ready);
    return security::SshKey::make(form);
}

void SshKeys::work()
{
    ::setpriority(PRIO_PROCESS, 0, kNice); // of this thread; without it the keys are made all the same
    std::unique_lock lock{mutex_};
    while (!ending_) {
        const auto lacking =
            std::find_if(ready_.begin(), ready_.end(), [](const auto& size) { return size.second.size() < kReady; });
        if (lacking == ready_.end()) {
            changed_.wait(lock);
            continue;
        }
        lock.unlock();
        auto made = security::SshKey::make({.kind = Kind::Rsa, .bits = lacking->first}, [this] { return !ending_; });
        lock.lock();
        if (made) lacking->second.push_back(*std::move(made)); // sizes are never forgotten
    }
}

} // namespace coppice::node
