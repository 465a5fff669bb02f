#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <string_view>

namespace coppice::instance {

/// The output of a detached instance: DIRECTORY/log, and DIRECTORY/log.1 with what came before. Bounded: at
/// kLogMaxBytes the older half goes.
class LogFile {
public:
    static constexpr std::uint64_t kLogMaxBytes = 10U << 20; ///< of each of the two files

    /// @param directory borrowed
    static Result<LogFile> open(int directory);
    /// Appends. Errors: Unavailable (disk full); what was not written is lost, the next call begins anew.
    Result<> append(std::string_view output);

private:
    LogFile(int directory, os::Fd file, std::uint64_t size) : directory_{directory}, file_{std::move(file)}, size_{size}
    {
    }
    int directory_;
    os::Fd file_;
    std::uint64_t size_;
};

inline constexpr const char* kLogName = "log";
inline constexpr const char* kOlderLogName = "log.1";

} // namespace coppice::instance
