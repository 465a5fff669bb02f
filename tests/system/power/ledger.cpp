#include "ledger.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace coppice::power {

void say(const std::string& line)
{
    static std::mutex mutex;
    const std::string text = "@ " + line + "\n";
    const std::lock_guard lock{mutex};
    std::size_t done = 0;
    while (done < text.size()) {
        const auto wrote = ::write(STDOUT_FILENO, text.data() + done, text.size() - done);
        if (wrote < 0) std::_Exit(3);
        done += static_cast<std::size_t>(wrote);
    }
}

Ledger Ledger::read(const std::string& path)
{
    Ledger ledger;
    std::ifstream file{path};
    for (std::string line; std::getline(file, line);) {
        std::istringstream words{line};
        std::string what, first, second;
        words >> what >> first >> second;
        if (what == "begin" && (first == "remove" || first == "accept")) {
            auto& entry = ledger.snapshots[store::SnapshotId::parse(second).value()];
            (first == "remove" ? entry.removing : entry.accepted) = true;
            continue;
        }
        if (what == "begin") {
            ledger.names[first + " " + second].unsure = true;
            continue;
        }
        if (what == "tag" || what == "working" || what == "version") {
            auto& name = ledger.names[what + " " + first];
            name = {};
            if (second != "-") name.snapshot = store::SnapshotId::parse(second).value();
            continue;
        }
        const auto id = store::SnapshotId::parse(first);
        if (!id) continue;
        auto& entry = ledger.snapshots[*id];
        if (what == "snapshot") entry.seed = std::strtoull(second.c_str(), nullptr, 10);
        if (what == "durable" && entry.state == store::SnapshotState::Frozen)
            entry.state = store::SnapshotState::Durable;
        if (what == "sealed") entry.state = store::SnapshotState::Sealed;
        if (what == "removed") entry.removed = true;
    }
    return ledger;
}

} // namespace coppice::power
