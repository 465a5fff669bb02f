#pragma once

#include "coppice/os/fd.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace coppice::daemon {

/// A file of JSON lines that is only ever appended to. A line cut short by a crash is the last one and is dropped when
/// the file is opened; any other line that cannot be read is Corrupt. One owner; not for several threads.
class Journal {
public:
    struct Opened;
    /// Reads what is there and creates the file when missing.
    /// @param path trusted; its directory must exist
    static Result<Opened> open(const std::string& path);

    /// @param durable wait until the disk has it
    Result<> append(const nlohmann::json& record, bool durable);
    /// Puts `records` in the place of all there is, at once and durably.
    Result<> replace(const std::vector<nlohmann::json>& records);
    /// Lines since it was opened or replaced.
    [[nodiscard]] std::size_t appended() const { return appended_; }

private:
    Journal(std::string path, os::Fd file) : path_{std::move(path)}, file_{std::move(file)} {}
    std::string path_;
    os::Fd file_;
    std::size_t appended_ = 0;
};

struct Journal::Opened {
    Journal journal;
    std::vector<nlohmann::json> records;
};

} // namespace coppice::daemon
