#pragma once

#include "coppice/base/guarded.h"

#include <functional>
#include <memory>
#include <vector>

namespace coppice::daemon {

/// Functions to be called when something happens; they must neither block nor ask back. Any thread.
template <typename... News> class Wakers {
public:
    using Wake = std::function<void(const News&...)>;

    /// `wake` is called until the result goes, and perhaps once more by a call that was under way then.
    [[nodiscard]] std::shared_ptr<void> add(Wake wake)
    {
        auto entry = std::make_shared<Wake>(std::move(wake));
        entries_.with([&](Entries& entries) {
            std::erase_if(entries, [](const auto& other) { return other.expired(); });
            entries.push_back(entry);
        });
        return entry;
    }

    void wake_all(const News&... news) const
    {
        const auto entries = entries_.with([](const Entries& all) { return all; });
        for (const auto& entry : entries)
            if (const auto wake = entry.lock()) (*wake)(news...);
    }

private:
    using Entries = std::vector<std::weak_ptr<Wake>>;
    Guarded<Entries> entries_;
};

} // namespace coppice::daemon
